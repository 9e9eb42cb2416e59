//! Changing a configuration: one edit at a time, into the draft when there is one, into service when there is none.
//!
//! In: an edit of one app's configuration. Out: what the edit returned, once the change is kept (draft) or live. An edit
//! that leaves a configuration which could not run changes nothing.
//!
//! Not here: who may change what (`api`).

use storage::StoreError;
use storage::catalog::Draft;
use storage::model::{App, AppId};

use crate::ControlPlane;
use crate::payload::{self, Stored};
use crate::publish::{PublishError, Sender};

/// Why an edit did not happen: the edit itself refused, or its result could not be kept.
pub(crate) enum ChangeError<E> {
    Edit(E),
    Publish(PublishError),
}

impl<E> From<PublishError> for ChangeError<E> {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

impl<E> From<StoreError> for ChangeError<E> {
    fn from(error: StoreError) -> Self {
        Self::Publish(error.into())
    }
}

impl ControlPlane {
    /// What is served now; what a new app has when nothing is.
    pub(crate) async fn live_config(&self, app: &App) -> Result<Stored, PublishError> {
        let Some(live) = app.live else { return Ok(Stored { config: payload::initial(), ..Stored::default() }) };
        let deployment = self.catalog.deployment(live).await?;
        let deployment = deployment.ok_or_else(|| PublishError::Platform(format!("deployment {live} is missing")))?;
        payload::recall(&deployment.config).map_err(PublishError::Platform)
    }

    /// What an edit would begin with: the draft's configuration when there is a draft.
    pub(crate) async fn working_config(&self, app: &App) -> Result<Stored, PublishError> {
        match self.catalog.draft(app.id).await? {
            Some(draft) => payload::recall(&draft.config).map_err(PublishError::Platform),
            None => self.live_config(app).await,
        }
    }

    pub(crate) async fn change<T, E>(
        &self,
        app: AppId,
        sender: &Sender,
        edit: impl FnOnce(&mut Stored) -> Result<T, E>,
    ) -> Result<T, ChangeError<E>> {
        let _alone = self.fleet.alone(app).await?;
        let app = self.catalog.app(app).await?.ok_or_else(|| gone(app))?;
        let draft = self.catalog.draft(app.id).await?;
        let mut stored = match &draft {
            Some(draft) => payload::recall(&draft.config).map_err(PublishError::Platform)?,
            None => self.live_config(&app).await?,
        };
        let before = (stored.config.clone(), stored.dependencies.clone());
        let result = edit(&mut stored).map_err(ChangeError::Edit)?;
        let unchanged = (&stored.config, &stored.dependencies) == (&before.0, &before.1);
        if unchanged && (draft.is_some() || app.live.is_some()) {
            return Ok(result);
        }
        self.checked(&app, &stored.config).await?;
        match draft {
            Some(draft) => self.catalog.put_draft(&Draft { config: payload::keep(&stored), ..draft }).await?,
            None => {
                let deployed = self.deploy(&app, &stored, sender, None, "").await?;
                if let Some(failure) = deployed.failure {
                    return Err(failure.into());
                }
            }
        }
        Ok(result)
    }
}

fn gone(app: AppId) -> PublishError {
    PublishError::Platform(format!("app {app} was deleted meanwhile"))
}
