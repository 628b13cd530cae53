//! The image catalogue: names from tutorials, and what stands in for them offline.
//!
//! Every entry runs the host's own programs on a root filesystem made for it ([`super::skeleton`]): a small /etc of its
//! own, and the host's /usr with a writable layer above. The kubelet says so with an Event, every time.

use super::reference::Reference;

/// One stand-in.
#[derive(Debug)]
pub struct Entry {
    /// Names as [`Reference::familiar`] gives them.
    pub names: &'static [&'static str],
    pub entrypoint: &'static [&'static str],
    pub cmd: &'static [&'static str],
    pub env: &'static [&'static str],
    pub working_dir: &'static str,
    /// Files of its own, by path.
    pub files: &'static [(&'static str, &'static str)],
    /// Empty folders it may write to.
    pub folders: &'static [&'static str],
    /// busybox's applets come first in PATH, as in the image.
    pub busybox: bool,
    /// The program that must be on the host, and the package that has it.
    pub needs: Option<(&'static str, &'static str)>,
    /// What the Event says it is.
    pub what: &'static str,
}

const PLAIN: Entry = Entry {
    names: &[],
    entrypoint: &[],
    cmd: &[],
    env: &[],
    working_dir: "/",
    files: &[],
    folders: &[],
    busybox: false,
    needs: None,
    what: "",
};

/// nginx in the foreground, logging to the container's streams. `user root`, since often only one user is mapped.
const NGINX_CONF: &str = "\
user root;
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 512; }
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    log_format main '$remote_addr - $remote_user [$time_local] \"$request\" '
                    '$status $body_bytes_sent \"$http_referer\" \"$http_user_agent\" \"$http_x_forwarded_for\"';
    access_log /dev/stdout main;
    sendfile on;
    keepalive_timeout 65;
    include /etc/nginx/conf.d/*.conf;
}
";

const NGINX_DEFAULT: &str = "\
server {
    listen 80;
    listen [::]:80;
    server_name localhost;
    location / {
        root /usr/share/nginx/html;
        index index.html index.htm;
    }
    error_page 500 502 503 504 /50x.html;
    location = /50x.html { root /usr/share/nginx/html; }
}
";

const NGINX_PAGE: &str = "\
<!DOCTYPE html>
<html>
<head><title>Welcome to nginx!</title></head>
<body>
<h1>Welcome to nginx!</h1>
<p>This is the host's nginx in a knetsim pod.</p>
</body>
</html>
";

const NGINX_ERROR: &str = "<!DOCTYPE html>\n<html><body><h1>An error occurred.</h1></body></html>\n";

/// All stand-ins.
pub const CATALOGUE: &[Entry] = &[
    Entry {
        names: &[
            "nginx",
            "nginxinc/nginx-unprivileged",
            "bitnami/nginx",
            "registry.k8s.io/nginx",
            "registry.k8s.io/e2e-test-images/nginx",
            "public.ecr.aws/nginx/nginx",
        ],
        entrypoint: &["nginx"],
        cmd: &["-g", "daemon off;"],
        files: &[
            ("/etc/nginx/nginx.conf", NGINX_CONF),
            ("/etc/nginx/conf.d/default.conf", NGINX_DEFAULT),
            ("/usr/share/nginx/html/index.html", NGINX_PAGE),
            ("/usr/share/nginx/html/50x.html", NGINX_ERROR),
        ],
        folders: &["/var/log/nginx", "/var/lib/nginx", "/var/cache/nginx", "/docker-entrypoint.d"],
        needs: Some(("nginx", "nginx-light")),
        what: "the host's nginx",
        ..PLAIN
    },
    Entry {
        names: &[
            "busybox",
            "registry.k8s.io/e2e-test-images/busybox",
            "gcr.io/google-containers/busybox",
            "quay.io/prometheus/busybox",
        ],
        cmd: &["sh"],
        busybox: true,
        what: "the host's busybox and tools",
        ..PLAIN
    },
    Entry { names: &["alpine"], cmd: &["/bin/sh"], busybox: true, what: "the host's busybox and tools", ..PLAIN },
    Entry {
        names: &["debian", "ubuntu", "bash", "fedora", "centos", "rockylinux"],
        cmd: &["bash"],
        what: "the host's own programs",
        ..PLAIN
    },
    Entry {
        names: &[
            "nicolaka/netshoot",
            "netshoot",
            "registry.k8s.io/e2e-test-images/jessie-dnsutils",
            "registry.k8s.io/e2e-test-images/glibc-dns-testing",
            "tutum/dnsutils",
            "praqma/network-multitool",
            "wbitt/network-multitool",
            "networkstatic/iperf3",
            "infoblox/dnstools",
            "registry.k8s.io/e2e-test-images/node-perf/npb-is",
        ],
        cmd: &["bash"],
        what: "the host's network tools",
        ..PLAIN
    },
    Entry {
        names: &["curlimages/curl", "radial/busyboxplus", "yauritux/busybox-curl", "appropriate/curl"],
        entrypoint: &[],
        cmd: &["curl"],
        needs: Some(("curl", "curl")),
        what: "the host's curl",
        ..PLAIN
    },
    Entry {
        names: &["python"],
        cmd: &["python3"],
        env: &["PYTHONUNBUFFERED=1"],
        needs: Some(("python3", "python3")),
        what: "the host's Python",
        ..PLAIN
    },
    Entry {
        names: &["registry.k8s.io/e2e-test-images/agnhost", "k8s.gcr.io/e2e-test-images/agnhost", "agnhost"],
        entrypoint: &["/usr/local/bin/knetsim", "agnhost"],
        cmd: &["pause"],
        what: "knetsim's own test server",
        ..PLAIN
    },
    Entry {
        names: &["registry.k8s.io/e2e-test-images/sample-apiserver", "k8s.gcr.io/e2e-test-images/sample-apiserver"],
        entrypoint: &["/usr/local/bin/knetsim", "sample-apiserver"],
        what: "knetsim's own API server with the sample's resources",
        ..PLAIN
    },
    Entry {
        names: &["registry.k8s.io/metrics-server/metrics-server", "k8s.gcr.io/metrics-server/metrics-server"],
        entrypoint: &["/usr/local/bin/knetsim", "metrics-server"],
        what: "knetsim's own metrics server",
        ..PLAIN
    },
    Entry {
        names: &["traefik/whoami", "containous/whoami", "jwilder/whoami"],
        entrypoint: &["/usr/local/bin/knetsim", "agnhost", "whoami"],
        what: "knetsim's own test server",
        ..PLAIN
    },
    Entry {
        names: &["hashicorp/http-echo", "ghcr.io/hashicorp/http-echo", "kicbase/echo-server", "ealen/echo-server"],
        entrypoint: &["/usr/local/bin/knetsim", "agnhost", "http-echo"],
        what: "knetsim's own test server",
        ..PLAIN
    },
    Entry {
        names: &["registry.k8s.io/serve_hostname", "k8s.gcr.io/serve_hostname"],
        entrypoint: &["/usr/local/bin/knetsim", "agnhost", "serve-hostname"],
        what: "knetsim's own test server",
        ..PLAIN
    },
    Entry {
        names: &["registry.k8s.io/pause", "k8s.gcr.io/pause", "gcr.io/google_containers/pause", "kubernetes/pause"],
        entrypoint: &["/usr/local/bin/knetsim", "pause"],
        what: "knetsim's own pause",
        ..PLAIN
    },
    Entry {
        names: &["knetsim.dev/knetsim"],
        cmd: &["knetsim"],
        files: &[("/etc/nginx/conf.d/default.conf", NGINX_DEFAULT)],
        folders: &["/var/log/nginx", "/var/lib/nginx"],
        what: "",
        ..PLAIN
    },
];

/// The entry for a name, whatever its tag.
#[must_use]
pub fn find(reference: &Reference) -> Option<&'static Entry> {
    let name = reference.familiar();
    CATALOGUE.iter().find(|entry| entry.names.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_in_its_familiar_form_and_there_once() {
        let mut seen = std::collections::HashSet::new();
        for name in CATALOGUE.iter().flat_map(|entry| entry.names) {
            let reference = Reference::parse(name).expect(name);
            assert_eq!(reference.familiar(), *name);
            assert!(seen.insert(name), "{name} is there twice");
        }
    }

    #[test]
    fn any_tag_finds_its_entry() {
        for name in ["nginx:1.27", "docker.io/library/nginx", "docker.io/nginx", "nginx@sha256:00"] {
            let reference = Reference::parse(name).expect(name);
            assert!(find(&reference).is_some(), "{name}");
        }
        assert!(find(&Reference::parse("example.com/nginx").expect("a name")).is_none());
    }
}
