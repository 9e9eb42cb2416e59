//! The sample app that an empty data directory gets, so that a first `curl` has something to call.
//!
//! Its files are written to `samples/` in the data directory, to be looked at and changed, and deployed from there.

use std::path::Path;

use super::Server;
use super::admin::Admin;

/// `deploy/apps/hello`, as it was when this program was built.
const HELLO: &[(&str, &str)] = &[
    ("root_config.json", include_str!("../../../deploy/apps/hello/root_config.json")),
    ("https_endpoints/config.json", include_str!("../../../deploy/apps/hello/https_endpoints/config.json")),
    ("functions/config.json", include_str!("../../../deploy/apps/hello/functions/config.json")),
    ("functions/hello.js", include_str!("../../../deploy/apps/hello/functions/hello.js")),
];

/// Deploys the sample when there is no app at all, and prints a line that calls it.
pub async fn deploy_on_empty(server: &Server) -> Result<(), String> {
    let admin = Admin::login(server).await?;
    let apps = admin.apps().await?;
    let hello = match apps.iter().find(|(name, _)| name == "hello") {
        Some((_, app)) => app.clone(),
        None if apps.is_empty() => {
            let dir = server.data.join("samples").join("hello");
            write(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
            let payload = control_plane::directory::read(&dir).map_err(|error| error.to_string())?;
            let app = admin.create("hello", &payload).await?;
            admin.deploy(&app, &payload).await?;
            app
        }
        None => return Ok(()),
    };
    println!("The sample app 'hello' is deployed. Try it:\n");
    println!("  curl http://{}/app/{}/endpoint/hello\n", server.addresses[0], hello.client_app_id);
    Ok(())
}

fn write(dir: &Path) -> std::io::Result<()> {
    for (name, text) in HELLO {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(())
}
