//! Proving who one is.

use ferry_distribution::{
    Credentials, DistributionError, DistributionErrorKind as Kind, RoleKind, Secret, Selector,
    login,
};
use ferry_oci::manifest::media_type;
use http::Method;
use http::header::AUTHORIZATION;

use crate::fake::{Fake, Guard, What, transport};

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

fn tag() -> Selector {
    Selector::Tag("1".to_owned())
}

fn user(password: &str) -> Credentials {
    Credentials::Basic { user: "me".into(), password: Secret::new(password) }
}

async fn guarded(guard: Guard) -> Fake {
    let fake = Fake::start().await;
    fake.put_manifest("1", media_type::OCI_INDEX, INDEX);
    fake.state().guard = guard;
    fake
}

#[tokio::test]
async fn a_password_is_shown_when_it_is_asked_for() {
    let fake = guarded(Guard::Basic("me", "s3cr3t")).await;
    let repository = fake.repository_as(RoleKind::Pull, user("s3cr3t"));
    repository.manifest(&tag()).await.unwrap();
    repository.manifest(&tag()).await.unwrap();
    // Asked for once, and then given unasked.
    let shown: Vec<_> =
        fake.asked("/").iter().map(|seen| seen.headers.contains_key(AUTHORIZATION)).collect();
    assert_eq!(shown, [false, true, true]);
}

#[tokio::test]
async fn wrong_and_missing_passwords_are_told_apart() {
    let fake = guarded(Guard::Basic("me", "s3cr3t")).await;
    let error = fake.repository(RoleKind::Pull).manifest(&tag()).await.unwrap_err();
    let url = format!("http://{}/v2/a/b/manifests/1", fake.address);
    assert_eq!(error.to_string(), format!("Get \"{url}\": no basic auth credentials"));
    let repository = fake.repository_as(RoleKind::Pull, user("wrong"));
    let error = repository.manifest(&tag()).await.unwrap_err();
    assert_eq!(error.to_string(), "unauthorized: authentication required");
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert_eq!(fake.asked("/").len(), 3);
}

#[tokio::test]
async fn a_token_is_fetched_once_for_many() {
    let fake = guarded(Guard::Token(None)).await;
    let repository = fake.repository(RoleKind::Pull);
    let which = tag();
    let ten = (0..10).map(|_| repository.manifest(&which));
    for result in futures_util::future::join_all(ten).await {
        result.unwrap();
    }
    repository.tags().await.unwrap();
    let asked = fake.asked("/token");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].query, "service=fake&scope=repository:a/b:pull");
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced() {
    let fake = guarded(Guard::Token(Some(("me", "s3cr3t")))).await;
    let repository = fake.repository_as(RoleKind::Pull, user("s3cr3t"));
    repository.manifest(&tag()).await.unwrap();
    fake.state().tokens.clear();
    repository.manifest(&tag()).await.unwrap();
    let asked = fake.asked("/token");
    assert_eq!(asked.len(), 2);
    assert!(asked[0].query.ends_with("&account=me"), "{}", asked[0].query);
    // The password goes to the token server only, the token to the registry only.
    for seen in fake.asked("/v2/") {
        let header = seen.headers.get(AUTHORIZATION);
        assert!(header.is_none_or(|value| value.to_str().unwrap().starts_with("Bearer ")));
    }
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_is_replaced_once_more() {
    let fake = guarded(Guard::Token(None)).await;
    let count = || {
        let counted = (fake.asked("/token").len(), fake.asked("/v2/").len());
        fake.state().seen.clear();
        counted
    };
    // The first one has expired on its way.
    fake.state().stillborn = 1;
    let repository = fake.repository(RoleKind::Pull);
    repository.manifest(&tag()).await.unwrap();
    assert_eq!(count(), (2, 3));
    // The one that is kept has, and so has the next.
    fake.state().tokens.clear();
    fake.state().stillborn = 1;
    repository.manifest(&tag()).await.unwrap();
    assert_eq!(count(), (2, 3));
    // It has an end.
    fake.state().stillborn = usize::MAX;
    fake.state().tokens.clear();
    let error = repository.manifest(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
    assert_eq!(count(), (2, 3));
}

#[tokio::test]
async fn a_token_that_allows_too_little_is_not_asked_for_again() {
    let fake = guarded(Guard::Token(Some(("me", "s3cr3t")))).await;
    fake.repository(RoleKind::Pull).manifest(&tag()).await.unwrap_err();
    assert_eq!((fake.asked("/token").len(), fake.asked("/v2/").len()), (1, 2));
}

#[tokio::test]
async fn who_may_only_read_is_denied_to_write() {
    let fake = guarded(Guard::Token(None)).await;
    let repository = fake.repository(RoleKind::Push);
    let manifest = repository.manifest(&tag()).await.unwrap().raw;
    let error = repository.push_manifest(Some("2"), &manifest).await.unwrap_err();
    assert_eq!(error.to_string(), "denied: requested access to the resource is denied");
    assert_eq!(error.kind(), Kind::Denied);
}

#[tokio::test]
async fn who_is_unknown_is_denied_a_private_repository() {
    let fake = guarded(Guard::Token(Some(("me", "s3cr3t")))).await;
    let error = fake.repository(RoleKind::Pull).manifest(&tag()).await.unwrap_err();
    let name = fake.name("a/b");
    assert_eq!(
        error.to_string(),
        format!(
            "pull access denied for {name}, repository does not exist or may require 'docker login': denied: requested access to the resource is denied"
        )
    );
    let repository = fake.repository_as(RoleKind::Pull, user("wrong"));
    let error = repository.manifest(&tag()).await.unwrap_err();
    assert!(matches!(error, DistributionError::TokenRefused { .. }), "{error:?}");
    assert!(error.to_string().ends_with("unauthorized: incorrect username or password"), "{error}");
}

#[tokio::test]
async fn an_identity_token_buys_tokens() {
    let fake = guarded(Guard::Token(Some(("me", "s3cr3t")))).await;
    let identity = Credentials::Identity { token: Secret::new("refresh"), login: None };
    let repository = fake.repository_as(RoleKind::Push, identity);
    repository.manifest(&tag()).await.unwrap();
    let asked = fake.asked("/token");
    assert_eq!((asked.len(), asked[0].method.clone()), (1, Method::POST));
    let body = String::from_utf8(asked[0].body.to_vec()).unwrap();
    assert_eq!(
        body,
        "grant_type=refresh_token&refresh_token=refresh&service=fake&client_id=docker&scope=repository:a/b:pull%2Cpush"
    );
    let identity = Credentials::Identity { token: Secret::new("stale"), login: None };
    let error = fake.repository_as(RoleKind::Pull, identity).manifest(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
}

#[tokio::test]
async fn a_token_server_that_stumbles_is_asked_again() {
    let fake = guarded(Guard::Token(None)).await;
    fake.fault(Method::GET, "/token", 1, What::Status(503, ""));
    fake.fault(Method::GET, "/token", 1, What::Cut(4));
    fake.repository(RoleKind::Pull).manifest(&tag()).await.unwrap();
    assert_eq!(fake.asked("/token").len(), 3);
    fake.fault(Method::GET, "/token", 1, What::Bytes(b"{}"));
    let error = fake.repository(RoleKind::Pull).manifest(&tag()).await.unwrap_err();
    assert!(matches!(error, DistributionError::Malformed { .. }), "{error:?}");
}

async fn log_in(fake: &Fake, who: &Credentials) -> Result<Option<Secret>, DistributionError> {
    let server = fake.address.to_string();
    let outcome = login(&transport(Vec::new()), &server, who).await?;
    assert_eq!(outcome.status, "Login Succeeded");
    Ok(outcome.identity_token)
}

#[tokio::test]
async fn a_login_with_a_password() {
    let fake = guarded(Guard::Basic("me", "s3cr3t")).await;
    assert_eq!(log_in(&fake, &user("s3cr3t")).await.unwrap(), None);
    let error = log_in(&fake, &user("wrong")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "login attempt to http://{}/v2/ failed with status: 401 Unauthorized",
            fake.address
        )
    );
    assert_eq!(error.kind(), Kind::Unauthorized);
    let error = log_in(&fake, &Credentials::None).await.unwrap_err();
    assert!(matches!(error, DistributionError::NoCredentials { .. }), "{error:?}");
}

#[tokio::test]
async fn a_login_that_gives_an_identity_token() {
    let fake = guarded(Guard::Token(Some(("me", "s3cr3t")))).await;
    let identity = log_in(&fake, &user("s3cr3t")).await.unwrap();
    assert_eq!(identity.as_ref().map(Secret::expose), Some("refresh"));
    let asked = fake.asked("/token");
    assert!(asked[0].query.ends_with("account=me&client_id=docker&offline_token=true"));
    let identity = Credentials::Identity { token: identity.unwrap(), login: None };
    log_in(&fake, &identity).await.unwrap();
    let error = log_in(&fake, &user("wrong")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Get \"http://{}/v2/\": unauthorized: incorrect username or password",
            fake.address
        )
    );
}

#[tokio::test]
async fn a_login_where_nobody_asks() {
    let fake = guarded(Guard::Open).await;
    assert_eq!(log_in(&fake, &user("s3cr3t")).await.unwrap(), None);
    assert!(fake.asked("/").iter().all(|seen| !seen.headers.contains_key(AUTHORIZATION)));
    fake.fault(Method::GET, "/v2/", 1, What::Status(404, ""));
    let error = log_in(&fake, &user("s3cr3t")).await.unwrap_err();
    assert!(error.to_string().ends_with("failed with status: 404 Not Found"), "{error}");
}
