use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use connector_health::alert::{
    Alert, AlertSink as _, NameLookup, SinkError, WebhookBuilder, WebhookError, WebhookSink, is_inside,
    signature,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::an_alert;

const SECRET: &[u8] = b"planted-secret-of-the-webhook-receiver";

/// Answers every request with this, and gives back what the first one said.
async fn server(answer: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = String::new();
        let mut buffer = [0; 4_096];
        loop {
            let read = stream.read(&mut buffer).await.unwrap();
            request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
            let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break;
            }
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        request
    });
    (address, serving)
}

fn loopback(url: String) -> WebhookBuilder {
    WebhookSink::builder(url, SECRET)
        .dangerous_plain_http()
        .dangerous_allow_inside("127.0.0.0/8".parse().unwrap())
}

#[tokio::test]
async fn posts_a_signed_message() {
    let (address, serving) = server("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").await;
    let sink = loopback(format!("http://{address}/alerts?t=1")).build().unwrap();
    let alert = an_alert();
    sink.deliver(&alert, alert.at).await.unwrap();
    let request = serving.await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /alerts?t=1 HTTP/1.1\r\n"), "{head}");
    assert_eq!(serde_json::from_str::<Alert>(body).unwrap(), alert);
    let header =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap();
    assert_eq!(header("webhook-id"), alert.event_id().to_string());
    assert_eq!(header("webhook-timestamp"), alert.at.timestamp().to_string());
    let expected = signature(SECRET, &alert.event_id().to_string(), alert.at.timestamp(), body.as_bytes());
    assert_eq!(header("webhook-signature"), expected);
}

/// The example of the Standard Webhooks specification's reference libraries.
#[test]
fn signs_as_the_specification_does() {
    use base64::Engine as _;
    let secret = base64::prelude::BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let body = br#"{"test": 2432232314}"#;
    let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[tokio::test]
async fn only_success_is_success_and_redirects_are_not_followed() {
    let answers = [
        ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", SinkError::Answered(500)),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            SinkError::Answered(302),
        ),
        (
            "HTTP/1.1 307 Again\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            SinkError::Answered(307),
        ),
        ("not HTTP at all\r\n\r\n", SinkError::Unavailable("the connection broke")),
    ];
    for (answer, expected) in answers {
        let (address, serving) = server(answer).await;
        let sink = loopback(format!("http://{address}/")).build().unwrap();
        let alert = an_alert();
        assert_eq!(sink.deliver(&alert, alert.at).await, Err(expected));
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read() {
    let (address, serving) = server("HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\nand so on").await;
    let sink = loopback(format!("http://{address}/")).build().unwrap();
    let alert = an_alert();
    sink.deliver(&alert, alert.at).await.unwrap();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_hangs_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sink = loopback(format!("http://{address}/")).timeout(Duration::from_millis(50)).build().unwrap();
    let alert = an_alert();
    let answer = sink.deliver(&alert, alert.at).await;
    assert_eq!(answer, Err(SinkError::Unavailable("it took too long")));
}

#[tokio::test]
async fn nobody_there_is_told_without_the_address() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let sink = loopback(format!("http://{address}/hooks/T000/planted-path-secret")).build().unwrap();
    let alert = an_alert();
    let error = sink.deliver(&alert, alert.at).await.unwrap_err();
    assert_eq!(error, SinkError::Unavailable("no connection"));
    for text in [format!("{error} {error:?}"), format!("{sink:?}")] {
        assert!(!text.contains("planted"), "{text}");
    }
    let builder = loopback("https://example.com/planted".to_owned());
    assert!(!format!("{builder:?}").contains("planted"));
}

/// One answer for each look-up.
struct Scripted {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

#[async_trait]
impl NameLookup for Scripted {
    async fn lookup(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(self.answers[self.asked.fetch_add(1, Ordering::SeqCst)].clone())
    }
}

#[tokio::test]
async fn a_name_that_points_inside_is_refused_at_each_connection() {
    let inside = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", "fd00:ec2::254"];
    for address in inside {
        let outside = "93.184.215.14".parse().unwrap();
        // Alone, and hidden behind one that does not.
        let answers = vec![vec![address.parse().unwrap()], vec![outside, address.parse().unwrap()]];
        let names = Arc::new(Scripted { answers, asked: AtomicUsize::new(0) });
        let sink =
            WebhookSink::builder("https://rebind.example/", SECRET).names(names.clone()).build().unwrap();
        let alert = an_alert();
        for _ in 0..2 {
            let answer = sink.deliver(&alert, alert.at).await;
            assert_eq!(answer, Err(SinkError::Forbidden("the webhook's name points inside")), "{address}");
        }
        assert_eq!(names.asked.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn a_name_that_turns_inward_after_the_first_message_is_refused_at_the_second() {
    let (address, serving) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let answers = vec![vec!["127.0.0.1".parse().unwrap()], vec!["127.0.0.2".parse().unwrap()]];
    let names = Arc::new(Scripted { answers, asked: AtomicUsize::new(0) });
    let sink = WebhookSink::builder(format!("http://rebind.example:{}/", address.port()), SECRET)
        .dangerous_plain_http()
        .dangerous_allow_inside("127.0.0.1/32".parse().unwrap())
        .names(names)
        .build()
        .unwrap();
    let alert = an_alert();
    sink.deliver(&alert, alert.at).await.unwrap();
    serving.await.unwrap();
    let answer = sink.deliver(&alert, alert.at).await;
    assert_eq!(answer, Err(SinkError::Forbidden("the webhook's name points inside")));
}

#[test]
fn addresses_that_cannot_be_are_refused_when_it_is_made() {
    let made = |url: &str| WebhookSink::builder(url, SECRET).build().map(drop);
    assert_eq!(made("https://hooks.example.com/a"), Ok(()));
    assert_eq!(made("http://hooks.example.com/a"), Err(WebhookError::Plain));
    assert_eq!(made("ftp://hooks.example.com/a"), Err(WebhookError::Url));
    assert_eq!(made("nonsense"), Err(WebhookError::Url));
    assert_eq!(made("https://ann:pw@hooks.example.com/"), Err(WebhookError::Credentials));
    for url in [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://169.254.169.254/",
    ] {
        assert_eq!(made(url), Err(WebhookError::Inside), "{url}");
    }
    let listed = |host: &str| {
        WebhookSink::builder(format!("https://{host}/"), SECRET).allow_hosts(["Hooks.example.com"]).build()
    };
    assert!(listed("hooks.EXAMPLE.com").is_ok());
    assert_eq!(listed("hooks.example.com.evil.net").unwrap_err(), WebhookError::Host);
    let short = WebhookSink::builder("https://hooks.example.com/", "short").build();
    assert_eq!(short.unwrap_err(), WebhookError::Secret);
}

#[test]
fn addresses_inside_are_known() {
    let inside = [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.9.9.9",
        "168.63.129.16",
        "169.254.169.254",
        "172.31.255.255",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "fc00::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "5f00::1",
    ];
    for address in inside {
        assert!(is_inside(address.parse().unwrap()), "{address}");
    }
    let outside = [
        "1.1.1.1",
        "100.128.0.1",
        "172.32.0.1",
        "93.184.215.14",
        "2606:4700::1111",
        "64:ff9b::101:101",
        "2002:101:101::",
        "::ffff:1.1.1.1",
        "2001:4860:4860::8888",
    ];
    for address in outside {
        assert!(!is_inside(address.parse().unwrap()), "{address}");
    }
}
