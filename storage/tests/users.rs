//! Users in the catalog: found by what they present, each identity one user's, pages, and what a crash leaves behind.

mod support;

use std::sync::Arc;

use bson::raw::RawDocumentBuf;
use bson::rawdoc;
use portico_storage::catalog::{NotCreated, UserPage};
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::{ApiKeyId, AppId, User, UserIdentity, UserKey, UserState};
use portico_storage::{Catalog, Namespace, Store, Tenant};
use support::wait;

fn user(id: &str, identities: &[(&str, &str)]) -> User {
    User {
        id: id.to_owned(),
        state: UserState::Confirmed,
        disabled: false,
        data: rawdoc! { "name": id },
        identities: identities
            .iter()
            .map(|(provider_type, id)| UserIdentity {
                id: (*id).to_owned(),
                provider_type: (*provider_type).to_owned(),
                provider_id: "p".to_owned(),
                data: if *provider_type == "local-userpass" {
                    rawdoc! { "email": *id }
                } else {
                    RawDocumentBuf::new()
                },
            })
            .collect(),
        password: Some("$argon2id$…".to_owned()),
        created_at: 1,
        last_login_at: 2,
        session_number: 0,
        ended_sessions: Vec::new(),
    }
}

fn open(dir: &tempfile::TempDir) -> (Catalog, Arc<Embedded>) {
    let store = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    (Catalog::new(store.clone()), store)
}

#[test]
fn a_user_is_found_by_id_and_by_each_identity_and_by_nothing_once_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, _) = open(&dir);
    let (app, other) = (AppId::new(), AppId::new());
    let ann = user("ann", &[("custom-token", "sub"), ("local-userpass", "ann@x.y")]);
    wait(catalog.create_user(app, &ann)).unwrap();
    assert_eq!(wait(catalog.user(app, "ann")).unwrap().as_ref(), Some(&ann));
    for (provider, login, found) in [
        ("custom-token", "sub", true),
        ("local-userpass", "ann@x.y", true),
        ("local-userpass", "Ann@x.y", false),
        ("local-userpass", "sub", false),
    ] {
        assert_eq!(
            wait(catalog.user_by_identity(app, provider, login)).unwrap().is_some(),
            found,
            "{provider}/{login}"
        );
    }
    assert_eq!(wait(catalog.user(other, "ann")).unwrap(), None, "another app's users are others");
    let key = UserKey {
        id: ApiKeyId::new(),
        user_id: "ann".to_owned(),
        name: "k".to_owned(),
        hash: [7; 32],
        disabled: false,
    };
    wait(catalog.put_user_key(app, &key)).unwrap();
    assert_eq!(wait(catalog.user_key(app, &[7; 32])).unwrap(), Some(key));
    assert!(wait(catalog.delete_user(app, &ann)).unwrap());
    assert_eq!(wait(catalog.user_by_identity(app, "custom-token", "sub")).unwrap(), None);
    assert_eq!(wait(catalog.user_key(app, &[7; 32])).unwrap(), None);
    wait(catalog.create_user(app, &user("bob", &[("custom-token", "sub")]))).unwrap();
}

#[test]
fn an_identity_is_one_users_whatever_happens_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, _) = open(&dir);
    let app = AppId::new();
    let made: usize = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8)
            .map(|number| {
                let catalog = catalog.clone();
                scope.spawn(move || {
                    let user = user(&format!("user-{number}"), &[("custom-token", "same")]);
                    usize::from(wait(catalog.create_user(app, &user)).is_ok())
                })
            })
            .collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).sum()
    });
    // Without the claimants' lock an identity that is being claimed can be mistaken for one left behind; then the last
    // to write it has it, and the others are not found by it.
    assert!(made >= 1);
    let owner = wait(catalog.user_by_identity(app, "custom-token", "same")).unwrap().expect("somebody has it");
    let taken = wait(catalog.create_user(app, &user("late", &[("custom-token", "same")])));
    let expected = NotCreated::IdentityTaken { provider_type: "custom-token".to_owned(), login: "same".to_owned() };
    assert_eq!(taken, Err(expected));
    assert_eq!(wait(catalog.create_user(app, &user(&owner.id, &[]))), Err(NotCreated::IdTaken));
}

#[test]
fn an_identity_left_behind_by_a_crash_can_be_claimed() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, store) = open(&dir);
    let app = AppId::new();
    let at = Namespace::new(Tenant::Users(app), "portico", "identities");
    let orphan = rawdoc! { "_id": "custom-token/sub", "user": "never-written" };
    wait(store.insert(&at, vec![orphan], true)).unwrap();
    assert_eq!(wait(catalog.user_by_identity(app, "custom-token", "sub")).unwrap(), None);
    wait(catalog.create_user(app, &user("ann", &[("custom-token", "sub")]))).unwrap();
    let found = wait(catalog.user_by_identity(app, "custom-token", "sub")).unwrap();
    assert_eq!(found.map(|user| user.id).as_deref(), Some("ann"));
}

#[test]
fn changes_touch_what_they_are_about_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let app = AppId::new();
    {
        let (catalog, store) = open(&dir);
        wait(catalog.create_user(app, &user("ann", &[("local-userpass", "ann@x.y")]))).unwrap();
        assert!(wait(catalog.set_user_disabled(app, "ann", true)).unwrap());
        assert!(wait(catalog.set_user_password(app, "ann", "new")).unwrap());
        assert!(wait(catalog.user_logged_in(app, "ann", 9, Some(rawdoc! { "name": "Ann" }))).unwrap());
        assert!(wait(catalog.revoke_sessions(app, "ann")).unwrap());
        assert!(wait(catalog.end_session(app, "ann", "65a1b2c3d4e5f60718293a4b", 99)).unwrap());
        assert!(!wait(catalog.set_user_disabled(app, "nobody", true)).unwrap());
        store.close();
    }
    let (catalog, _) = open(&dir);
    let mut expected = user("ann", &[("local-userpass", "ann@x.y")]);
    expected.disabled = true;
    expected.password = Some("new".to_owned());
    expected.last_login_at = 9;
    expected.data = rawdoc! { "name": "Ann" };
    expected.session_number = 1;
    expected.ended_sessions = vec![("65a1b2c3d4e5f60718293a4b".to_owned(), 99)];
    assert_eq!(wait(catalog.user(app, "ann")).unwrap(), Some(expected));
}

#[test]
fn pages_follow_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, _) = open(&dir);
    let app = AppId::new();
    for number in 0..5 {
        let mut user = user(&format!("u{number}"), &[("custom-token", &format!("s{number}"))]);
        user.state = if number == 4 { UserState::Pending } else { UserState::Confirmed };
        wait(catalog.create_user(app, &user)).unwrap();
    }
    let ids = |page: UserPage| -> Vec<String> {
        wait(catalog.users(app, &page)).unwrap().into_iter().map(|user| user.id).collect()
    };
    let page = UserPage { state: Some(UserState::Confirmed), limit: 2, ..UserPage::default() };
    assert_eq!(ids(page.clone()), ["u0", "u1"]);
    assert_eq!(ids(UserPage { after: Some("u1".to_owned()), ..page.clone() }), ["u2", "u3"]);
    assert_eq!(ids(UserPage { descending: true, state: None, ..page.clone() }), ["u4", "u3"]);
    assert_eq!(ids(UserPage { provider_types: vec!["anon-user".to_owned()], ..page }), Vec::<String>::new());
}
