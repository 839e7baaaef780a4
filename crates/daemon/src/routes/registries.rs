//! What registries are asked beside pulls and pushes.

use ferry_api::{
    AuthResponse,
    registry::{AuthConfig, DistributionInspect},
};

use crate::{
    convert::transfers as convert,
    http::{
        error::Failure,
        reply::Reply,
        service::{Call, Target},
    },
};

/// Where one logs in who names no registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Tries credentials at a registry.
pub(super) async fn login(call: Call) -> Result<Reply, Failure> {
    let (call, auth) = call.json::<AuthConfig>().await?;
    let auth = auth.unwrap_or_default();
    let server = match auth.serveraddress.as_str() {
        "" => DOCKER_HUB.to_owned(),
        server => server.to_owned(),
    };
    let login = call.app.engine.login(&server, convert::credentials(auth));
    let outcome = call.unless_gone(login).await??;
    let token = outcome.identity_token.map(|token| token.expose().to_owned());
    let identity_token = token.unwrap_or_default();
    call.reply(&AuthResponse { identity_token, status: outcome.status })
}

/// Shows what a name stands for in its registry.
pub(super) async fn inspect(call: &Target) -> Result<Reply, Failure> {
    let name = convert::name(call.name())?;
    let credentials = convert::credentials(call.registry_auth());
    let asked = call.app.engine.distribution_inspect(name, credentials);
    let (descriptor, platforms) = call.unless_gone(asked).await??;
    call.reply(&DistributionInspect { descriptor, platforms })
}
