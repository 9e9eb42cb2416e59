//! Lets a request on that does not come too soon after others: of its address, its app, its endpoint; and, once it is
//! known whose it is, of its user.
//!
//! In: a request and where it goes. Out: the same, and in the request's [`Tally`] what its callers have left, or a refusal
//! that says when to come again. Where nothing is limited, which is the rule, this is a look at four empty fields.
//!
//! Not here: the buckets (`storage::rates`), and how many calls run at once (admit).

use storage::rates::{Limited, Scope, Tally};

use crate::authenticate::Known;
use crate::core::Core;
use crate::limits::LIMITED_LOG_EVERY_MS;
use crate::refusal::{Refusal, Refused};
use crate::request::Request;
use crate::route::Routed;

/// What can be told before it is known who calls.
pub fn request(core: &Core, request: &Request<'_>, routed: Routed, tally: &mut Tally) -> Result<Routed, Refused> {
    let limits = routed.app.limits.rates;
    if limits.address.is_none() && limits.app.is_none() && routed.endpoint.rate.is_none() {
        return Ok(routed);
    }
    match take(core, request, &routed, tally) {
        Ok(()) => Ok(routed),
        Err(limited) => Err(refused(core, limited, routed)),
    }
}

fn take(core: &Core, request: &Request<'_>, routed: &Routed, tally: &mut Tally) -> Result<(), Limited> {
    let (rates, limits) = (&core.parts.rates, routed.app.limits.rates);
    let now = rates.ns(request.started);
    if let Some(rate) = limits.address {
        rates.take_of_address(Scope::Address, Some(routed.app.id), request.peer, rate, now, tally)?;
    }
    if let Some(rate) = limits.app {
        rates.take(Scope::App, &routed.app.rate, rate, now, || routed.app.id.to_hex(), tally)?;
    }
    if let Some(endpoint) = &routed.endpoint.rate {
        let name = || format!("{}:{}", routed.app.id.to_hex(), routed.endpoint.id.to_hex());
        let taken = rates.take(Scope::Endpoint, &endpoint.cell, endpoint.rate, now, name, tally);
        if let (Err(_), Some(rate)) = (&taken, limits.app) {
            rates.give_back(&routed.app.rate, rate, now);
        }
        taken?;
    }
    Ok(())
}

/// What can be told of a caller who is known.
pub fn user(core: &Core, request: &Request<'_>, known: Known, tally: &mut Tally) -> Result<Known, Refused> {
    let limits = known.app.limits.rates;
    let (Some(rate), Some(user)) = (limits.user, &known.user_id) else { return Ok(known) };
    let rates = &core.parts.rates;
    let now = rates.ns(request.started);
    let taken = rates.take_of(Scope::User, Some(known.app.id), user.as_bytes(), rate, now, tally);
    let Err(limited) = taken else { return Ok(known) };
    if let Some(rate) = limits.app {
        rates.give_back(&known.app.rate, rate, now);
    }
    if let Some(endpoint) = &known.endpoint.rate {
        rates.give_back(&endpoint.cell, endpoint.rate, now);
    }
    let Known { app, endpoint, user_id, console, .. } = known;
    let refused = refused(core, limited, Routed { app, endpoint }).having_said(console);
    Err(Refused { user_id, ..refused })
}

fn refused(core: &Core, limited: Limited, routed: Routed) -> Refused {
    let Routed { app, endpoint } = routed;
    let detail = format!(
        "the {} rate is {}; further refusals of this second are not written down",
        limited.scope.name(),
        limited.rate
    );
    // One who asks too often would fill the log with saying so.
    let quiet = !app.calls.may_tell(core.wheel.now_ms(), LIMITED_LOG_EVERY_MS);
    Refused::at_endpoint(Refusal::RateLimited(limited), app, endpoint).because(detail).quietly(quiet)
}
