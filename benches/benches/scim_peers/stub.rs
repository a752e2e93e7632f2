//! A SCIM server that costs nearly nothing: a listing of users out of one page that is kept ready, with the digits that differ
//! written into it for each answer.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Serves a listing of so many users, forever.
pub(crate) fn serve(total: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            // A client that goes away is none of the stub's business.
            thread::spawn(move || drop(answer(client, total)));
        }
    });
    addr
}

/// The page that begins with user `start` (from 1), as `Page` would be sent in full.
pub(crate) fn page(start: usize, count: usize, total: usize) -> Vec<u8> {
    let mut page = Page::default();
    page.fill(start, count, total);
    [page.head, page.body].concat()
}

fn answer(mut client: TcpStream, total: usize) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client.try_clone()?);
    let mut page = Page::default();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line)?;
        }
        let number = |name: &str, otherwise: usize| {
            let value = target.split(['?', '&']).find_map(|part| part.strip_prefix(name));
            value.and_then(|value| value.parse().ok()).unwrap_or(otherwise)
        };
        if target.contains("/Users") {
            let start = number("startIndex=", 1).max(1);
            let count = number("count=", 100).min(PAGE_MAX).min((total + 1).saturating_sub(start));
            page.fill(start, count, total);
            let length = page.head.len() + page.body.len();
            write!(
                client,
                "HTTP/1.1 200 OK\r\ncontent-type: application/scim+json\r\ncontent-length: {length}\r\n\r\n"
            )?;
            client.write_all(&page.head)?;
            client.write_all(&page.body)?;
        } else {
            // There is nothing else here, discovery included.
            client.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-type: application/scim+json\r\ncontent-length: 2\r\n\r\n{}")?;
        }
    }
}

#[derive(Default)]
struct Page {
    head: Vec<u8>,
    body: Vec<u8>,
    /// How many users the body holds.
    count: usize,
    /// Where the digits of each user are, from its beginning.
    places: Vec<usize>,
}

impl Page {
    fn fill(&mut self, start: usize, count: usize, total: usize) {
        if self.count != count || self.places.is_empty() {
            self.places = USER.match_indices(DIGITS).map(|(place, _)| place).collect();
            self.body = vec![USER; count].join(",").into_bytes();
            self.body.extend(b"]}");
            self.count = count;
        }
        self.head = format!(
            r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":{total},"startIndex":{start},"itemsPerPage":{count},"Resources":["#
        )
        .into_bytes();
        for user in 0..count {
            let digits = format!("{:07}", start + user);
            let begin = user * (USER.len() + 1);
            for place in &self.places {
                self.body[begin + place..begin + place + DIGITS.len()].copy_from_slice(digits.as_bytes());
            }
        }
    }
}

const PAGE_MAX: usize = 1000;
const DIGITS: &str = "#######";
/// 501 bytes, as servers send them.
pub(crate) const USER: &str = concat!(
    r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"00000000-0000-4000-8000-00000#######","#,
    r#""externalId":"hr-#######","meta":{"resourceType":"User","created":"2026-01-31T09:15:27.042Z","#,
    r#""lastModified":"2026-01-31T09:15:27.042Z","location":"/scim/v2/Users/00000000-0000-4000-8000-00000#######"},"#,
    r#""userName":"user#######@example.co","name":{"givenName":"Given","familyName":"Family"},"#,
    r#""displayName":"Given","active":true,"#,
    r#""emails":[{"value":"user#######@example.co","type":"work","primary":true}]}"#,
);
