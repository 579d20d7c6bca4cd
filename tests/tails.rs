//! Tails through real sockets: nothing is lost or told twice between the past and the present, and a client is told
//! why a tail ends.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::served::Node;

/// Only a node that is broken takes longer to send a frame.
const DEADLINE: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn tail(node: &Node, parameters: &str) -> Result<Socket, tungstenite::Error> {
    let url = format!("ws://{}/loki/api/v1/tail?{parameters}", node.address);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("X-Scope-OrgID", "t".parse().unwrap());
    connect_async(request).await.map(|(socket, _)| socket)
}

async fn push(node: &Node, app: &str, texts: &[String]) {
    let now = jiff::Timestamp::now().as_nanosecond();
    let lines = texts.iter().enumerate().map(|(n, text)| json!([(now + n as i128).to_string(), text]));
    let body = json!({"streams": [{"stream": {"app": app}, "values": lines.collect::<Vec<_>>()}]});
    let url = format!("http://{}/loki/api/v1/push", node.address);
    let client = reqwest::Client::new();
    let request = client.post(url).header("X-Scope-OrgID", "t").json(&body);
    assert_eq!(request.send().await.unwrap().status().as_u16(), 204);
}

/// The next frame or the reason of the close.
async fn next(socket: &mut Socket) -> Result<Value, String> {
    loop {
        let message = tokio::time::timeout(DEADLINE, socket.next()).await.expect("a frame comes");
        match message.expect("the node does not just hang up").unwrap() {
            Message::Text(text) => return Ok(serde_json::from_str(text.as_str()).unwrap()),
            Message::Close(Some(close)) => return Err(format!("{} {}", u16::from(close.code), close.reason)),
            _ => {}
        }
    }
}

/// The texts of so many lines.
async fn texts(socket: &mut Socket, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        let frame = next(socket).await.expect("the tail goes on");
        assert!(frame.get("dropped_entries").is_none(), "{frame}");
        for stream in frame["streams"].as_array().unwrap() {
            let values = stream["values"].as_array().unwrap();
            found.extend(values.iter().map(|value| value[1].as_str().unwrap().to_owned()));
        }
    }
    found
}

fn numbered(lines: std::ops::Range<usize>) -> Vec<String> {
    lines.map(|n| format!("line {n}")).collect()
}

const APP: &str = "query=%7Bapp%3D%22a%22%7D";

#[tokio::test]
async fn a_tail_tells_each_line_once_while_pushes_go_on() {
    grapevine::tls::install_crypto();
    let node = Node::start(&[]);
    push(&node, "a", &numbered(0..10)).await;
    // The tail begins in the midst of pushes: some lines are of the past, some of the present, some of both.
    let pushing = async {
        for n in 1..20 {
            push(&node, "a", &numbered(n * 10..n * 10 + 10)).await;
            push(&node, "b", &["of another stream".to_owned()]).await;
        }
    };
    let reading = async {
        let mut socket = tail(&node, &format!("{APP}&limit=1000")).await.unwrap();
        texts(&mut socket, 200).await
    };
    let (mut found, ()) = tokio::join!(reading, pushing);
    let mut expected = numbered(0..200);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_tail_that_cannot_be_is_ended_in_lokis_words() {
    grapevine::tls::install_crypto();
    let node = Node::start(&["limits.max_concurrent_tail_requests=1"]);
    let mut socket = tail(&node, "query=rate(%7Bapp%3D%22a%22%7D%5B1m%5D)").await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap_err(), "1011 only log selector is supported");
    let mut one = tail(&node, APP).await.unwrap();
    push(&node, "a", &numbered(0..1)).await;
    assert_eq!(texts(&mut one, 1).await, ["line 0"]);
    let mut two = tail(&node, APP).await.unwrap();
    let expected = "1011 rpc error: code = Code(400) desc = max concurrent tail requests limit exceeded, \
                    count > limit (2 > 1)";
    assert_eq!(next(&mut two).await.unwrap_err(), expected);
    let refused = tail(&node, "query=%7B").await.unwrap_err();
    assert!(matches!(refused, tungstenite::Error::Http(answer) if answer.status().as_u16() == 400));
}
