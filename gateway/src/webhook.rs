//! The address that incoming webhooks had before there were endpoints. Their senders were told once and are seldom told
//! again, so it goes on being served:
//! `/api/client/v2.0/app/<id>/service/<svc>/incoming_webhook/<name>` is the endpoint `/<svc>/<name>`, which is where the
//! platform's own converter put a webhook.
//!
//! In: a path. Out: the app and the route it stands for. What differs for such a call is asked of
//! [`Request::is_webhook`](crate::request::Request::is_webhook) where it matters: results are Extended JSON whatever
//! `Accept` says, and a function that sets a status and no body gets no body.

const PREFIX: &str = "/api/client/v2.0/app/";

/// The app, service and name of a webhook's path, each as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Webhook<'a> {
    pub app: &'a str,
    service: &'a str,
    name: &'a str,
}

impl<'a> Webhook<'a> {
    pub fn of(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix(PREFIX)?;
        let (app, rest) = rest.split_once('/')?;
        let (service, rest) = rest.strip_prefix("service/")?.split_once('/')?;
        let name = rest.strip_prefix("incoming_webhook/")?;
        let whole = !app.is_empty() && !service.is_empty() && !name.is_empty() && !name.contains('/');
        whole.then_some(Self { app, service, name })
    }

    /// The endpoint's route, still encoded.
    pub fn route(self) -> String {
        format!("/{}/{}", self.service, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_s_path_is_an_endpoint_s_route() {
        let route = |path| Webhook::of(path).map(|webhook| (webhook.app, webhook.route()));
        for (path, expected) in [
            ("/api/client/v2.0/app/a-b/service/http/incoming_webhook/hook", Some(("a-b", "/http/hook".to_owned()))),
            ("/api/client/v2.0/app/a-b/service/http/incoming_webhook/", None),
            ("/api/client/v2.0/app/a-b/service/http/incoming_webhook/a/b", None),
            ("/api/client/v2.0/app/a-b/service//incoming_webhook/hook", None),
            ("/api/client/v2.0/app//service/http/incoming_webhook/hook", None),
            ("/api/client/v2.0/app/a-b/service/http/hook", None),
            ("/api/client/v2.0/app/a-b/functions/call", None),
            ("/app/a-b/service/http/incoming_webhook/hook", None),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }
}
