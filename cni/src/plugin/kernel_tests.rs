//! The plugin against the distribution's real bridge and host-local.

use std::path::Path;
use std::process::Command;

use kernel::testing::{in_namespace, skip};
use serde_json::{Value, json};

const ACT: &str = "KNETSIM_TEST_ACT_AS_FLANNEL";
const PLUGINS: &str = "/usr/lib/cni";

/// Not a test of its own: the process the next test starts as the plugin.
#[test]
fn act_as_plugin() {
    if std::env::var_os(ACT).is_some() {
        std::process::exit(super::main());
    }
}

fn call(command: &str, conf: &Value) -> (bool, Value) {
    let input = opened(&conf.to_string());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["plugin::kernel_tests::act_as_plugin", "--exact", "--nocapture", "--test-threads=1"])
        .envs([("CNI_COMMAND", command), ("CNI_CONTAINERID", "c1"), ("CNI_NETNS", "/run/netns/pod")])
        .envs([("CNI_IFNAME", "eth0"), ("CNI_PATH", PLUGINS), (ACT, "1")])
        .stdin(input)
        .output()
        .unwrap();
    // libtest says "running 1 test" before the plugin speaks.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer = text.find('{').map_or(Value::Null, |at| serde_json::from_str(&text[at..]).expect(&text));
    (output.status.success(), answer)
}

fn opened(text: &str) -> std::fs::File {
    std::fs::write("/run/conf", text).unwrap();
    std::fs::File::open("/run/conf").unwrap()
}

fn ip(args: &str) -> String {
    let output = Command::new("ip").args(args.split(' ')).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn adds_checks_and_deletes_a_pod() {
    const NAME: &str = "plugin::kernel_tests::adds_checks_and_deletes_a_pod";
    if !Path::new(PLUGINS).join("bridge").exists() {
        return skip(NAME, "no bridge plugin in /usr/lib/cni (package containernetworking-plugins)");
    }
    in_namespace(NAME, || {
        ip("netns add pod");
        let mut conf = json!({
            "cniVersion": "1.0.0", "name": "cbr0", "type": "flannel",
            "subnetFile": "/run/flannel/subnet.env", "dataDir": "/run/cni-flannel", "ipam": { "dataDir": "/run/ipam" },
            "delegate": { "hairpinMode": true, "isDefaultGateway": true },
        });
        let (ok, error) = call("ADD", &conf);
        assert!(!ok && error["code"] == 5, "no subnet.env yet: {error}");
        assert_eq!(call("STATUS", &conf).1["code"], 50);

        let env = "FLANNEL_NETWORK=11.0.0.0/8\nFLANNEL_SUBNET=11.0.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        crate::subnet_env::write_atomically(Path::new("/run/flannel/subnet.env"), env.as_bytes()).unwrap();
        let (ok, result) = call("ADD", &conf);
        assert!(ok, "{result}");
        assert_eq!(result["ips"][0]["address"], "11.0.3.2/24");
        let inside = ip("-n pod addr show eth0");
        assert!(inside.contains("11.0.3.2/24") && inside.contains("mtu 1450"), "{inside}");
        assert!(ip("-n pod route").contains("default via 11.0.3.1"));

        conf["prevResult"] = result;
        // Debian's bridge 1.1.1 fills in the gateway in the kernel, but not in the result that its CHECK compares with.
        conf["prevResult"]["routes"][0]["gw"] = json!("11.0.3.1");
        assert_eq!(call("CHECK", &conf), (true, Value::Null));

        // DEL works from what ADD saved, subnet.env or not; twice is no error.
        std::fs::remove_file("/run/flannel/subnet.env").unwrap();
        assert_eq!(call("DEL", &conf), (true, Value::Null));
        assert_eq!(call("DEL", &conf), (true, Value::Null));
        assert!(!ip("-n pod link").contains("eth0"));
        assert_eq!(std::fs::read_dir("/run/cni-flannel").unwrap().count(), 0);
        let leases = std::fs::read_dir("/run/ipam/cbr0").unwrap().flatten();
        assert_eq!(leases.filter(|entry| entry.file_name().to_string_lossy().starts_with("11.")).count(), 0);
    });
}

#[test]
fn says_its_versions_and_what_is_wrong() {
    in_namespace("plugin::kernel_tests::says_its_versions_and_what_is_wrong", || {
        assert_eq!(call("VERSION", &json!({ "cniVersion": "1.0.0" })).1["supportedVersions"][5], "1.0.0");
        assert_eq!(call("NONSENSE", &json!({ "cniVersion": "1.0.0", "name": "n" })).1["code"], 4);
    });
}
