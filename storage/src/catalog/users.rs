//! The users of an app, in a file of their own: they are many, come and go by themselves, and no function can address
//! them.
//!
//! In: users, whole or as one change. Out: a user by id, by what they present, or page by page.
//!
//! A user is found by identity through a small record whose `_id` is the identity, so that two users can never claim the
//! same one: the store takes an `_id` once. That record is written before the user it names. Whoever finds one that leads
//! to nobody has found what a crash or a deletion left behind and may take it over; callers see to it that one identity
//! is claimed by one task at a time.
//!
//! Not here: passwords, tokens and what a login means (control-plane).

use bson::raw::{CString, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;

use super::mapping::{self, Fields};
use super::{Catalog, by_id, damaged, get};
use crate::error::StoreError;
use crate::limits;
use crate::model::{ApiKeyId, AppId, User, UserIdentity, UserKey, UserState};
use crate::namespace::{Namespace, Tenant};
use crate::store::{Delete, Find, Update};

/// MongoDB's code for an `_id` that is taken.
const DUPLICATE_KEY: i32 = 11000;

/// Why a user was not made.
#[derive(Debug, Clone, PartialEq)]
pub enum NotCreated {
    /// There is a user of this id.
    IdTaken,
    /// Another user has this identity.
    IdentityTaken {
        provider_type: String,
        login: String,
    },
    Store(StoreError),
}

impl From<StoreError> for NotCreated {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Which users to list.
#[derive(Debug, Clone, Default)]
pub struct UserPage {
    pub state: Option<UserState>,
    /// Any of these; empty: all.
    pub provider_types: Vec<String>,
    /// Users that follow the one of this id.
    pub after: Option<String>,
    /// From the highest id down.
    pub descending: bool,
    pub limit: u64,
}

fn users(app: AppId) -> Namespace {
    Namespace::new(Tenant::Users(app), "portico", "users")
}

fn identities(app: AppId) -> Namespace {
    Namespace::new(Tenant::Users(app), "portico", "identities")
}

fn keys(app: AppId) -> Namespace {
    Namespace::new(Tenant::Users(app), "portico", "keys")
}

fn identity_key(provider_type: &str, login: &str) -> String {
    format!("{provider_type}/{login}")
}

impl Catalog {
    pub async fn user(&self, app: AppId, id: &str) -> Result<Option<User>, StoreError> {
        let found = get(&*self.store, &users(app), by_id(id)).await?;
        found.as_deref().map(user_from).transpose()
    }

    /// The user who logs in as `login` with a provider of this type.
    pub async fn user_by_identity(
        &self,
        app: AppId,
        provider_type: &str,
        login: &str,
    ) -> Result<Option<User>, StoreError> {
        let key = identity_key(provider_type, login);
        let Some(record) = get(&*self.store, &identities(app), by_id(key)).await? else { return Ok(None) };
        let user = self.user(app, Fields(&record).text("user")?).await?;
        let has =
            |user: &User| user.identities.iter().any(|one| one.provider_type == provider_type && one.login() == login);
        Ok(user.filter(has))
    }

    /// Adds a user with all their identities, or nothing.
    pub async fn create_user(&self, app: AppId, user: &User) -> Result<(), NotCreated> {
        if self.user(app, &user.id).await?.is_some() {
            return Err(NotCreated::IdTaken);
        }
        for identity in &user.identities {
            self.claim(app, identity, &user.id).await?;
        }
        let inserted = self.store.insert(&users(app), vec![user_to(user)], true).await?;
        match inserted.error {
            None => Ok(()),
            Some(error) if error.code == DUPLICATE_KEY => Err(NotCreated::IdTaken),
            Some(error) => Err(error.into()),
        }
    }

    async fn claim(&self, app: AppId, identity: &UserIdentity, user: &str) -> Result<(), NotCreated> {
        let (provider_type, login) = (identity.provider_type.as_str(), identity.login());
        let key = identity_key(provider_type, login);
        let record = rawdoc! { "_id": key.as_str(), "user": user };
        let inserted = self.store.insert(&identities(app), vec![record.clone()], true).await?;
        match inserted.error {
            None => Ok(()),
            Some(error) if error.code != DUPLICATE_KEY => Err(error.into()),
            Some(_) => match self.user_by_identity(app, provider_type, login).await? {
                Some(other) if other.id != user => {
                    Err(NotCreated::IdentityTaken { provider_type: provider_type.to_owned(), login: login.to_owned() })
                }
                _ => {
                    let update =
                        Update { filter: by_id(key), update: record.into(), upsert: true, ..Update::default() };
                    self.store.update(&identities(app), update).await.map(drop).map_err(NotCreated::Store)
                }
            },
        }
    }

    /// The user goes first, so that a crash in between leaves identities that lead to nobody.
    pub async fn delete_user(&self, app: AppId, user: &User) -> Result<bool, StoreError> {
        let deleted = self
            .store
            .delete(&users(app), Delete { filter: by_id(user.id.as_str()), multi: false, ..Delete::default() })
            .await?;
        for identity in &user.identities {
            let key = identity_key(&identity.provider_type, identity.login());
            // Unless somebody else has it already.
            let filter = rawdoc! { "_id": key, "user": user.id.as_str() };
            self.store.delete(&identities(app), Delete { filter, multi: false, ..Delete::default() }).await?;
        }
        let filter = rawdoc! { "user": user.id.as_str() };
        self.store.delete(&keys(app), Delete { filter, multi: true, ..Delete::default() }).await?;
        Ok(deleted > 0)
    }

    /// Whether there is such a user.
    pub async fn set_user_disabled(&self, app: AppId, id: &str, disabled: bool) -> Result<bool, StoreError> {
        self.set_in_user(app, id, rawdoc! { "disabled": disabled }).await
    }

    pub async fn set_user_state(&self, app: AppId, id: &str, state: UserState) -> Result<bool, StoreError> {
        self.set_in_user(app, id, rawdoc! { "state": state.as_str() }).await
    }

    pub async fn set_user_password(&self, app: AppId, id: &str, password: &str) -> Result<bool, StoreError> {
        self.set_in_user(app, id, rawdoc! { "password": password }).await
    }

    /// A login: when it was, and what the provider says of the user now.
    pub async fn user_logged_in(
        &self,
        app: AppId,
        id: &str,
        at: i64,
        data: Option<RawDocumentBuf>,
    ) -> Result<bool, StoreError> {
        let mut set = rawdoc! { "last_login_at": at };
        if let Some(data) = data {
            set.append(bson::raw::cstr!("data"), data);
        }
        self.set_in_user(app, id, set).await
    }

    /// No token that was given out so far is good any more.
    pub async fn revoke_sessions(&self, app: AppId, id: &str) -> Result<bool, StoreError> {
        self.change_user(app, id, rawdoc! { "$inc": { "session_number": 1_i64 } }).await
    }

    /// One session is over; `until` is when its tokens expire anyway.
    pub async fn end_session(&self, app: AppId, id: &str, session: &str, until: i64) -> Result<bool, StoreError> {
        let mut set = RawDocumentBuf::new();
        let key = CString::try_from(format!("ended_sessions.{session}"))
            .map_err(|_| StoreError::bad_value("a session's id must not hold a zero character"))?;
        set.append(key, until);
        self.change_user(app, id, rawdoc! { "$set": set }).await
    }

    async fn set_in_user(&self, app: AppId, id: &str, set: RawDocumentBuf) -> Result<bool, StoreError> {
        self.change_user(app, id, rawdoc! { "$set": set }).await
    }

    async fn change_user(&self, app: AppId, id: &str, update: RawDocumentBuf) -> Result<bool, StoreError> {
        let update = Update { filter: by_id(id), update: update.into(), ..Update::default() };
        Ok(self.store.update(&users(app), update).await?.matched > 0)
    }

    pub async fn users(&self, app: AppId, page: &UserPage) -> Result<Vec<User>, StoreError> {
        let mut filter = RawDocumentBuf::new();
        if let Some(state) = page.state {
            filter.append(bson::raw::cstr!("state"), state.as_str());
        }
        if !page.provider_types.is_empty() {
            let types: RawArrayBuf = page.provider_types.iter().map(String::as_str).collect();
            filter.append(bson::raw::cstr!("identities.provider_type"), rawdoc! { "$in": types });
        }
        if let Some(after) = &page.after {
            let beyond = if page.descending { "$lt" } else { "$gt" };
            let mut range = RawDocumentBuf::new();
            range.append(CString::try_from(beyond).expect("it holds no zero byte"), after.as_str());
            filter.append(bson::raw::cstr!("_id"), range);
        }
        let sort = rawdoc! { "_id": if page.descending { -1 } else { 1 } };
        self.users_where(app, Find { filter, sort, limit: page.limit, ..Find::default() }).await
    }

    async fn users_where(&self, app: AppId, find: Find) -> Result<Vec<User>, StoreError> {
        let mut cursor = self.store.find(&users(app), find).await?;
        let mut found = Vec::new();
        loop {
            let batch = cursor.next(limits::CATALOG_BATCH_BYTES).await?;
            for record in &batch.documents {
                found.push(user_from(record)?);
            }
            if batch.exhausted {
                return Ok(found);
            }
        }
    }

    pub async fn user_key(&self, app: AppId, hash: &[u8; 32]) -> Result<Option<UserKey>, StoreError> {
        let found = get(&*self.store, &keys(app), by_id(hex::encode(hash))).await?;
        found.as_deref().map(key_from).transpose()
    }

    /// The keys of one user, oldest first.
    pub async fn user_keys(&self, app: AppId, user: &str) -> Result<Vec<UserKey>, StoreError> {
        let find = Find { filter: rawdoc! { "user": user }, sort: rawdoc! { "key": 1 }, ..Find::default() };
        let mut cursor = self.store.find(&keys(app), find).await?;
        let mut found = Vec::new();
        loop {
            let batch = cursor.next(limits::CATALOG_BATCH_BYTES).await?;
            for record in &batch.documents {
                found.push(key_from(record)?);
            }
            if batch.exhausted {
                return Ok(found);
            }
        }
    }

    pub async fn put_user_key(&self, app: AppId, key: &UserKey) -> Result<(), StoreError> {
        let update = Update {
            filter: by_id(hex::encode(key.hash)),
            update: key_to(key).into(),
            upsert: true,
            ..Update::default()
        };
        self.store.update(&keys(app), update).await.map(drop)
    }

    pub async fn delete_user_key(&self, app: AppId, key: &UserKey) -> Result<(), StoreError> {
        let delete = Delete { filter: by_id(hex::encode(key.hash)), multi: false, ..Delete::default() };
        self.store.delete(&keys(app), delete).await.map(drop)
    }
}

fn user_to(user: &User) -> RawDocumentBuf {
    let mut listed = RawArrayBuf::new();
    for identity in &user.identities {
        listed.push(rawdoc! {
            "id": identity.id.as_str(),
            "provider_type": identity.provider_type.as_str(),
            "provider_id": identity.provider_id.as_str(),
            "data": identity.data.clone(),
        });
    }
    let mut record = rawdoc! {
        "_id": user.id.as_str(),
        "state": user.state.as_str(),
        "disabled": user.disabled,
        "data": user.data.clone(),
        "identities": listed,
        "created_at": user.created_at,
        "last_login_at": user.last_login_at,
        "session_number": user.session_number,
    };
    if let Some(password) = &user.password {
        record.append(bson::raw::cstr!("password"), password.as_str());
    }
    record
}

fn user_from(record: &RawDocument) -> Result<User, StoreError> {
    let fields = Fields(record);
    let mut identities = Vec::new();
    for identity in record.get_array("identities").map_err(|_| damaged("identities is not an array", record))? {
        let Ok(RawBsonRef::Document(identity)) = identity else {
            return Err(damaged("an identity is not a document", record));
        };
        let fields = Fields(identity);
        identities.push(UserIdentity {
            id: fields.text("id")?.to_owned(),
            provider_type: fields.text("provider_type")?.to_owned(),
            provider_id: fields.text("provider_id")?.to_owned(),
            data: mapping::document_field(identity, "data")?,
        });
    }
    let ended = mapping::document_field(record, "ended_sessions")?;
    let ended = ended.iter().flatten().filter_map(|(session, until)| Some((session.to_string(), until.as_i64()?)));
    Ok(User {
        id: fields.text("_id")?.to_owned(),
        state: fields.word("state", UserState::parse)?,
        disabled: fields.flag("disabled")?,
        data: mapping::document_field(record, "data")?,
        identities,
        password: record.get_str("password").ok().map(str::to_owned),
        created_at: fields.seconds("created_at")?,
        last_login_at: fields.seconds("last_login_at")?,
        session_number: fields.seconds("session_number")?,
        ended_sessions: ended.collect(),
    })
}

fn key_to(key: &UserKey) -> RawDocumentBuf {
    rawdoc! {
        "_id": hex::encode(key.hash),
        "key": key.id.0,
        "user": key.user_id.as_str(),
        "name": key.name.as_str(),
        "disabled": key.disabled,
    }
}

fn key_from(record: &RawDocument) -> Result<UserKey, StoreError> {
    let fields = Fields(record);
    let mut hash = [0; 32];
    hex::decode_to_slice(fields.text("_id")?, &mut hash).map_err(|_| damaged("_id is not a digest", record))?;
    Ok(UserKey {
        id: ApiKeyId(fields.id("key")?),
        user_id: fields.text("user")?.to_owned(),
        name: fields.text("name")?.to_owned(),
        hash,
        disabled: fields.flag("disabled")?,
    })
}
