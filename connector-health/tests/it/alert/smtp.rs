use connector_health::ConnectorId;
use connector_health::alert::{AlertSink as _, SinkError, SmtpBuilder, SmtpError, SmtpSink};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::an_alert;

/// Takes one mail, or refuses its recipients, and gives back what was said to it.
async fn server(rcpt: &'static str) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 mail.example.com\r\n").await.unwrap();
        let (mut said, mut in_data) = (Vec::new(), false);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap() == 0 {
                return said;
            }
            let line = line.trim_end_matches("\r\n").to_owned();
            let answer = match line.split_once([' ', ':']).map_or(line.as_str(), |(verb, _)| verb) {
                _ if in_data && line == "." => "250 taken\r\n",
                _ if in_data => "",
                "EHLO" => "250 mail.example.com\r\n",
                "RCPT" => rcpt,
                "DATA" => "354 go on\r\n",
                "QUIT" => "221 bye\r\n",
                _ => "250 ok\r\n",
            };
            in_data = (in_data && line != ".") || (!in_data && line == "DATA");
            let quit = line == "QUIT";
            said.push(line);
            stream.write_all(answer.as_bytes()).await.unwrap();
            if quit {
                return said;
            }
        }
    });
    (port, serving)
}

fn plain(port: u16) -> SmtpBuilder {
    SmtpSink::builder("127.0.0.1", "Provisioner <alerts@example.com>").port(port).dangerous_plain()
}

#[tokio::test]
async fn sends_a_mail_in_which_nothing_can_add_a_header() {
    let (port, serving) = server("250 ok\r\n").await;
    let sink = plain(port).to("ops@example.com").to("Night Shift <night@example.com>").build().unwrap();
    let mut alert = an_alert();
    alert.connector = ConnectorId::new("crm é: Bcc: eve@example.com").unwrap();
    // Nobody can make such a sample; were there one, it would be encoded.
    alert.sample = Some("no\r\nBcc: eve@example.com\r\n\r\n.\r\nMAIL FROM:<eve@example.com>".to_owned());
    sink.deliver(&alert, alert.at).await.unwrap();
    drop(sink);
    let said = serving.await.unwrap();
    let begins = |start: &str| said.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((begins("MAIL FROM:"), begins("RCPT TO:")), (1, 2));
    let data = said.iter().position(|line| line == "DATA").unwrap();
    let head: Vec<&String> = said[data + 1..].iter().take_while(|line| !line.is_empty()).collect();
    let mut names: Vec<&str> = head
        .iter()
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| Some(line.split_once(':')?.0))
        .collect();
    names.sort_unstable();
    let expected = [
        "Content-Transfer-Encoding",
        "Content-Type",
        "Date",
        "From",
        "MIME-Version",
        "Message-ID",
        "Subject",
        "To",
    ];
    names.dedup();
    assert_eq!(names, expected);
    let id = format!("Message-ID: <{}@example.com>", alert.event_id());
    assert!(head.iter().any(|line| **line == id), "{head:?}");
}

#[tokio::test]
async fn a_refusal_is_told_by_its_status() {
    let (port, serving) = server("550 no such person\r\n").await;
    let sink = plain(port).to("ops@example.com").build().unwrap();
    let alert = an_alert();
    assert_eq!(sink.deliver(&alert, alert.at).await, Err(SinkError::Answered(550)));
    drop(sink);
    serving.await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_told() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let sink = plain(port).to("ops@example.com").build().unwrap();
    let alert = an_alert();
    let error = sink.deliver(&alert, alert.at).await.unwrap_err();
    assert_eq!(error, SinkError::Unavailable("no conversation with the mail server"));
}

#[test]
fn refuses_addresses_that_are_none_and_shows_no_password() {
    let to = |address: &str| plain(25).to(address).build().map(drop);
    assert_eq!(to("ops@example.com"), Ok(()));
    for address in ["", "ops", "ops@example.com\r\nRCPT TO:<eve@example.com>", "a@b.c, d@e.f"] {
        assert_eq!(to(address), Err(SmtpError::Address), "{address:?}");
    }
    assert_eq!(plain(25).build().unwrap_err(), SmtpError::Recipients);
    let builder = plain(25).to("ops@example.com").credentials("ann", "planted-password");
    assert!(!format!("{builder:?}").contains("planted"));
    assert!(!format!("{:?}", builder.build().unwrap()).contains("planted"));
}

#[tokio::test]
async fn tls_is_the_rule_and_a_server_without_it_gets_no_mail() {
    let alert = an_alert();
    let (port, serving) = server("250 ok\r\n").await;
    let tls = || {
        SmtpSink::builder("127.0.0.1", "alerts@example.com")
            .to("ops@example.com")
            .credentials("ann", "planted")
    };
    let sink = tls().port(port).starttls().build().unwrap();
    assert!(sink.deliver(&alert, alert.at).await.is_err());
    drop(sink);
    let said = serving.await.unwrap();
    assert!(said.iter().all(|line| !line.starts_with("AUTH") && !line.starts_with("MAIL")), "{said:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sink = tls().port(listener.local_addr().unwrap().port()).build().unwrap();
    let hello = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut first = [0; 1];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.unwrap();
        first
    });
    assert!(sink.deliver(&alert, alert.at).await.is_err());
    assert_eq!(hello.await.unwrap(), [22], "a TLS handshake, before anything is said");
}
