//! Questions and answers: first pure, then over sockets.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::forward::Forwarder;
use crate::records::Records;
use crate::server::Server;
use crate::zone::{Answer, Zone};

fn set_service(records: &mut Records, namespace: &str, name: &str, spec: Value) {
    let object = json!({ "metadata": { "namespace": namespace, "name": name }, "spec": spec });
    records.set_service(&(namespace.into(), name.into()), Some(&serde_json::from_value(object).unwrap()));
}

fn set_slice(records: &mut Records, service: &str, ports: Value, endpoints: Value) {
    let object = json!({
        "metadata": { "namespace": "shop", "name": format!("{service}-x"), "labels": { "kubernetes.io/service-name": service } },
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    });
    records.set_slice(&("shop".into(), format!("{service}-x")), Some(&serde_json::from_value(object).unwrap()));
}

fn records() -> Records {
    let mut records = Records::default();
    let ports = json!([{ "name": "http", "port": 80 }, { "name": "dns", "port": 53, "protocol": "UDP" }]);
    set_service(
        &mut records,
        "shop",
        "web",
        json!({ "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ports": ports }),
    );
    set_service(&mut records, "shop", "db", json!({ "clusterIP": "None" }));
    set_slice(
        &mut records,
        "db",
        json!([{ "name": "sql", "port": 5432 }]),
        json!([
            { "addresses": ["11.0.1.2"], "hostname": "db-0", "conditions": { "ready": true } },
            { "addresses": ["11.0.2.3"], "conditions": { "ready": true } },
            { "addresses": ["11.0.3.4"], "hostname": "db-2", "conditions": { "ready": false } },
        ]),
    );
    set_slice(&mut records, "web", json!([{ "name": "http", "port": 8080 }]), json!([{ "addresses": ["11.0.1.9"] }]));
    set_service(&mut records, "shop", "empty", json!({ "clusterIP": "None" }));
    set_service(&mut records, "shop", "ext", json!({ "type": "ExternalName", "externalName": "example.com" }));
    set_service(
        &mut records,
        "shop",
        "alias",
        json!({ "type": "ExternalName", "externalName": "web.shop.svc.cluster.local" }),
    );
    records
}

fn zone() -> Zone {
    Zone::new("cluster.local").unwrap()
}

/// `TYPE name` in; answers as `TYPE data`, or the denial, out.
fn ask(records: &Records, question: &str) -> Vec<String> {
    let (kind, name) = question.split_once(' ').unwrap();
    let (kind, name) = (RecordType::from_str(kind).unwrap(), Name::from_ascii(name).unwrap());
    match zone().answer(records, &name, kind, 1) {
        Answer::Found { answers, .. } => {
            let mut texts: Vec<_> = answers.iter().map(|r| format!("{} {}", r.record_type(), r.data)).collect();
            texts.sort();
            texts
        }
        other => vec![format!("{other:?}")],
    }
}

fn check(question: &str, expected: &[&str]) {
    assert_eq!(ask(&records(), question), expected, "{question}");
}

#[test]
fn services() {
    check("A web.shop.svc.cluster.local.", &["A 10.96.0.7"]);
    check("A WEB.Shop.svc.CLUSTER.local.", &["A 10.96.0.7"]);
    check("AAAA web.shop.svc.cluster.local.", &["NoData"]);
    check("A nobody.shop.svc.cluster.local.", &["NxDomain"]);
    check("A web.nowhere.svc.cluster.local.", &["NxDomain"]);
    check("SRV _http._tcp.web.shop.svc.cluster.local.", &["SRV 0 100 80 web.shop.svc.cluster.local."]);
    check("SRV _dns._udp.web.shop.svc.cluster.local.", &["SRV 0 100 53 web.shop.svc.cluster.local."]);
    check("SRV _dns._tcp.web.shop.svc.cluster.local.", &["NxDomain"]);
    check("A _http._tcp.web.shop.svc.cluster.local.", &["NoData"]);
    check("PTR 7.0.96.10.in-addr.arpa.", &["PTR web.shop.svc.cluster.local."]);
    check("PTR 8.0.96.10.in-addr.arpa.", &["UnknownAddress"]);
    check("PTR 9.1.0.11.in-addr.arpa.", &["UnknownAddress"]);
}

#[test]
fn headless_services() {
    check("A db.shop.svc.cluster.local.", &["A 11.0.1.2", "A 11.0.2.3"]);
    check("A db-0.db.shop.svc.cluster.local.", &["A 11.0.1.2"]);
    check("A 11-0-2-3.db.shop.svc.cluster.local.", &["A 11.0.2.3"]);
    check("A db-2.db.shop.svc.cluster.local.", &["NxDomain"]);
    check("A empty.shop.svc.cluster.local.", &["NoData"]);
    let expected =
        ["SRV 0 50 5432 11-0-2-3.db.shop.svc.cluster.local.", "SRV 0 50 5432 db-0.db.shop.svc.cluster.local."];
    check("SRV _sql._tcp.db.shop.svc.cluster.local.", &expected);
    check("PTR 2.1.0.11.in-addr.arpa.", &["PTR db-0.db.shop.svc.cluster.local."]);
}

#[test]
fn other_names() {
    check("A ext.shop.svc.cluster.local.", &["CNAME example.com."]);
    check("A alias.shop.svc.cluster.local.", &["A 10.96.0.7", "CNAME web.shop.svc.cluster.local."]);
    check("CNAME alias.shop.svc.cluster.local.", &["CNAME web.shop.svc.cluster.local."]);
    check("A 11-0-9-9.shop.pod.cluster.local.", &["A 11.0.9.9"]);
    check("A not-an-ip.shop.pod.cluster.local.", &["NxDomain"]);
    check("TXT dns-version.cluster.local.", &["TXT 1.1.0"]);
    check("A svc.cluster.local.", &["NoData"]);
    check("A shop.svc.cluster.local.", &["NoData"]);
    check("A example.com.shop.svc.cluster.local.", &["NxDomain"]);
    check("A example.com.", &["NotOurs"]);
    assert!(
        ask(&records(), "SOA cluster.local.")[0].starts_with("SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 ")
    );
}

#[test]
fn an_alias_that_leads_to_itself_ends() {
    let mut records = records();
    set_service(
        &mut records,
        "shop",
        "ext",
        json!({ "type": "ExternalName", "externalName": "ext.shop.svc.cluster.local" }),
    );
    assert_eq!(ask(&records, "A ext.shop.svc.cluster.local.").len(), 8);
}

#[test]
fn what_is_deleted_leaves_nothing() {
    let mut records = records();
    for name in ["web", "db", "empty", "ext", "alias"] {
        records.set_service(&("shop".into(), name.into()), None);
    }
    for question in ["A web.shop.svc.cluster.local.", "A shop.svc.cluster.local.", "A db-0.db.shop.svc.cluster.local."]
    {
        assert_eq!(ask(&records, question), ["NxDomain"], "{question}");
    }
    for question in ["PTR 7.0.96.10.in-addr.arpa.", "PTR 2.1.0.11.in-addr.arpa."] {
        assert_eq!(ask(&records, question), ["UnknownAddress"], "{question}");
    }
}

/// A running server; its UDP and TCP addresses.
async fn start(records: Records, upstreams: Vec<SocketAddr>) -> (SocketAddr, SocketAddr) {
    let server = Arc::new(Server::new(zone(), Forwarder::new(upstreams)));
    *server.records.write() = records;
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let addresses = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    tokio::spawn(server.clone().serve_udp(udp));
    tokio::spawn(server.serve_tcp(tcp));
    addresses
}

fn question(name: &str, kind: RecordType, edns: Option<u16>) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(payload) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message
}

async fn over_udp(to: SocketAddr, bytes: &[u8]) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(bytes, to).await.unwrap();
    let mut answer = [0; 4096];
    let n = socket.recv(&mut answer).await.unwrap();
    Message::from_vec(&answer[..n]).unwrap()
}

async fn over_tcp(to: SocketAddr, message: &Message) -> Message {
    let bytes = message.to_vec().unwrap();
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(&[&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes.as_slice()].concat()).await.unwrap();
    let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn crowd() -> Records {
    let mut records = records();
    let endpoints: Vec<Value> = (1..=200).map(|n| json!({ "addresses": [format!("11.0.5.{n}")] })).collect();
    set_slice(&mut records, "db", json!([]), json!(endpoints));
    records
}

#[tokio::test]
async fn a_large_answer_is_cut_over_udp_and_whole_over_tcp() {
    let (udp, tcp) = start(crowd(), vec![]).await;
    let name = "db.shop.svc.cluster.local.";
    for edns in [None, Some(1232), Some(65000)] {
        let message = question(name, RecordType::A, edns);
        let cut = over_udp(udp, &message.to_vec().unwrap()).await;
        assert!(cut.metadata.truncation && cut.answers.len() < 200, "{edns:?}");
        assert!(cut.to_vec().unwrap().len() <= usize::from(edns.unwrap_or(512).min(1232)), "{edns:?}");
        assert_eq!(cut.edns.is_some(), edns.is_some());
    }
    let whole = over_tcp(tcp, &question(name, RecordType::A, None)).await;
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 200));
}

#[tokio::test]
async fn denials_carry_the_soa_and_answers_rotate() {
    let (udp, _) = start(records(), vec![]).await;
    let ask = async |name: &str, kind| over_udp(udp, &question(name, kind, None).to_vec().unwrap()).await;
    let none = ask("nobody.shop.svc.cluster.local.", RecordType::A).await;
    assert_eq!((none.metadata.response_code, none.metadata.authoritative), (ResponseCode::NXDomain, true));
    assert_eq!(none.authorities.iter().map(Record::record_type).collect::<Vec<_>>(), [RecordType::SOA]);
    let nodata = ask("web.shop.svc.cluster.local.", RecordType::AAAA).await;
    assert_eq!((nodata.metadata.response_code, nodata.authorities.len()), (ResponseCode::NoError, 1));
    assert_eq!(ask("example.com.", RecordType::A).await.metadata.response_code, ResponseCode::Refused);
    let first = async || ask("db.shop.svc.cluster.local.", RecordType::A).await.answers[0].data.to_string();
    assert_ne!(first().await, first().await);
}

#[tokio::test]
async fn other_names_are_asked_elsewhere_and_failure_is_said() {
    // The upstream is another of our servers, with another cluster's zone standing in for the world.
    let world = Arc::new(Server::new(Zone::new("example.com").unwrap(), Forwarder::new(vec![])));
    set_service(&mut world.records.write(), "a", "b", json!({ "clusterIP": "192.0.2.80" }));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let upstream = socket.local_addr().unwrap();
    tokio::spawn(world.serve_udp(socket));
    let mut ours = records();
    set_service(&mut ours, "shop", "ext", json!({ "type": "ExternalName", "externalName": "b.a.svc.example.com" }));
    let (udp, _) = start(ours, vec![upstream]).await;
    let ask = async |to, name: &str| over_udp(to, &question(name, RecordType::A, None).to_vec().unwrap()).await;
    assert_eq!(ask(udp, "b.a.svc.example.com.").await.answers[0].data.to_string(), "192.0.2.80");
    let chased = ask(udp, "ext.shop.svc.cluster.local.").await;
    assert_eq!(chased.answers.iter().map(Record::record_type).collect::<Vec<_>>(), [RecordType::CNAME, RecordType::A]);

    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (udp, _) = start(records(), vec![closed]).await;
    assert_eq!(ask(udp, "example.org.").await.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn malformed_requests_are_refused_not_fatal() {
    let (udp, _) = start(records(), vec![]).await;
    let garbage = over_udp(udp, &[0x12, 0x34, 0x01, 0, 0, 9, 0, 0, 0, 0, 0, 0, 255]).await;
    assert_eq!((garbage.metadata.id, garbage.metadata.response_code), (0x1234, ResponseCode::FormErr));
    let mut update = question("web.shop.svc.cluster.local.", RecordType::A, None);
    update.metadata.op_code = OpCode::Notify;
    let refused = over_udp(udp, &update.to_vec().unwrap()).await;
    assert_eq!(refused.metadata.response_code, ResponseCode::NotImp);
}
