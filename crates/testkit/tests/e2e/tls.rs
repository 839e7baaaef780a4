//! Whom the engine trusts, who it is to others, and where else it looks: `certs.d`.

use std::path::PathBuf;

use ferry_testkit::registry::{At, Authority, Form, Identity, What};
use ferry_testkit::{Client, Env, FaultRegistry};

use crate::pull::image_of;

/// The folder of one registry in `/etc/ferry/certs.d`, removed when it is dropped.
pub(crate) struct CertsDir(PathBuf);

impl CertsDir {
    pub(crate) fn new(registry: &str) -> Self {
        let folder = PathBuf::from(format!("/etc/ferry/certs.d/{registry}"));
        // Another test may just be removing the empty parents.
        let made = (0..100).any(|_| std::fs::create_dir_all(&folder).is_ok());
        assert!(made, "making {}", folder.display());
        Self(folder)
    }

    pub(crate) fn put(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.0.join(name), text).unwrap();
        self
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.0.join(name)).unwrap();
    }

    fn put_client(&self, identity: &Identity) -> &Self {
        self.put("client.cert", &identity.certificate()).put("client.key", &identity.key())
    }
}

impl Drop for CertsDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
        // Only when nobody else uses them.
        for folder in ["/etc/ferry/certs.d", "/etc/ferry"] {
            drop(std::fs::remove_dir(folder));
        }
    }
}

/// The bridge's address: registries on 127.0.0.1 need no certificate.
fn address(env: &Env) -> String {
    format!("{}.1", env.slot().subnet())
}

#[test]
fn only_the_right_authority_vouches() {
    let env = Env::builder().own().start();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let address = address(&env);
    let registry = FaultRegistry::start_as(&address, &ours.server(&[&address]), None);
    drop(registry.publish("tls:1", &image_of(230, 1, 500), Form::default()));
    let name = registry.name("tls:1");
    let unknown =
        "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    let certs = CertsDir::new(&registry.address().to_string());
    certs.put("ca.crt", &other.certificate());
    env.docker(&["pull", &name]).exits(1).says(unknown);
    // Files are read anew each time; a second authority does no harm.
    certs.put("second.crt", &ours.certificate());
    env.docker(&["pull", &name]).exits(0);
    // A file that is no certificate is told of, not passed over.
    certs.put("ca.crt", "nonsense");
    env.docker(&["pull", &name]).exits(1).says("ca.crt");
    drop(certs);
    env.docker(&["pull", &name]).exits(1).says(unknown);
    assert!(registry.requests().iter().all(|seen| seen.header("authorization").is_none()));
    // The right authority, but for another host.
    let registry = FaultRegistry::start_as(&address, &ours.server(&["other.test"]), None);
    let certs = CertsDir::new(&registry.address().to_string());
    certs.put("ca.crt", &ours.certificate());
    let said = env.docker(&["pull", &registry.name("tls:1")]).exits(1);
    drop(said.says("tls: failed to verify certificate: x509: "));
    assert!(registry.requests().is_empty(), "nothing is asked of whom nobody knows");
}

#[test]
fn a_registry_that_wants_a_certificate_of_its_clients() {
    let env = Env::builder().own().start();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let address = address(&env);
    let registry = FaultRegistry::start_as(&address, &ours.server(&[&address]), Some(&ours));
    drop(registry.publish("tls:1", &image_of(231, 2, 500), Form::default()));
    let name = registry.name("tls:1");
    let certs = CertsDir::new(&registry.address().to_string());
    certs.put("ca.crt", &ours.certificate());
    env.docker(&["pull", &name]).exits(1).says("tls: certificate required");
    certs.put_client(&other.client("somebody else"));
    let said = env.docker(&["pull", &name]).exits(1);
    assert!(said.err().contains("remote error: tls: "), "{said:?}");
    assert!(registry.requests().is_empty(), "nobody came in");
    certs.put_client(&ours.client("us"));
    env.docker(&["pull", &name]).exits(0);
    let pushed = registry.name("pushed:1");
    env.docker(&["tag", &name, &pushed]).exits(0);
    env.docker(&["push", &pushed]).exits(0);
    // So do the commands that need no engine.
    let copied = registry.name("copied:1");
    let copy = ["image", "copy", "-q", &pushed, &copied];
    env.client(Client::Ferry, &copy).run().exits(0);
    assert!(registry.manifest("copied", "1").is_some());
    certs.remove("client.key");
    env.docker(&["pull", &name]).exits(1).says(
        "missing key client.key for client certificate client.cert. CA certificates must use the extension .crt",
    );
    certs.remove("client.cert");
    certs.put("client.key", &ours.client("us").key());
    let half = "missing client certificate client.cert for key client.key";
    env.docker(&["pull", &name]).exits(1).says(half);
}

#[test]
fn mirrors_of_hosts_toml() {
    let env = Env::builder().own().start();
    let (origin, mirror) = (FaultRegistry::start(), FaultRegistry::start());
    let image = image_of(232, 2, 500);
    drop(mirror.publish("proxied/there:1", &image, Form::default()));
    drop(origin.publish("there:1", &image_of(233, 1, 500), Form::default()));
    drop(origin.publish("only-here:1", &image_of(234, 1, 500), Form::default()));
    let certs = CertsDir::new(&origin.address().to_string());
    certs.put(
        "hosts.toml",
        &format!(
            "[host.\"http://{}/v2/proxied\"]\ncapabilities = [\"pull\", \"resolve\"]\n\
             override_path = true\n[host.\"http://{}/v2/proxied\".header]\nx-secret = \"of-the-mirror\"\n",
            mirror.address(),
            mirror.address(),
        ),
    );
    let name = origin.name("there:1");
    env.docker(&["pull", &name]).exits(0);
    assert_eq!(env.inspect(&name, "{{.Id}}"), image.id(), "the mirror's");
    assert!(origin.requests().is_empty(), "the registry itself is not asked");
    let asked = mirror.requests();
    let ns = format!("ns={}", origin.address().to_string().replace(':', "%3A"));
    for request in &asked {
        let query = request.query.replace(':', "%3A");
        assert!(query.contains(&ns), "{}", request.text());
        assert_eq!(request.header("x-secret"), Some("of-the-mirror"), "{}", request.text());
    }
    // Commands that need no engine find the mirror too.
    mirror.forget_requests();
    let folder = env.host_folder().join("layout").display().to_string();
    let copy = ["image", "copy", "-q", &name, &format!("oci:{folder}")];
    env.client(Client::Ferry, &copy).run().exits(0);
    assert!(origin.requests().is_empty() && !mirror.requests().is_empty());
    // What the mirror has not, or fails to give, the registry has.
    let here = origin.name("only-here:1");
    env.docker(&["pull", &here]).exits(0);
    assert!(origin.requests().iter().all(|request| request.header("x-secret").is_none()));
    // A push goes to the registry alone.
    mirror.forget_requests();
    env.docker(&["tag", &here, &origin.name("pushed:1")]).exits(0);
    env.docker(&["push", &origin.name("pushed:1")]).exits(0);
    assert!(origin.manifest("pushed", "1").is_some());
    assert!(
        mirror.requests().iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD"))
    );
    env.docker(&["rmi", &name]).exits(0);
    mirror.fault(At::Manifest, 99, What::Status(503));
    env.docker(&["pull", &name]).exits(0);
    assert_ne!(env.inspect(&name, "{{.Id}}"), image.id(), "the registry's own");
    mirror.heal();
    env.docker(&["rmi", &name]).exits(0);
    drop(mirror);
    env.docker(&["pull", &name]).exits(0);
    certs.put("hosts.toml", "[host.nonsense]\nnothing = 1\n");
    env.docker(&["pull", &name]).exits(1).says("hosts.toml");
}
