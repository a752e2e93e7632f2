//! Real syslog servers.

use std::io::Write as _;
use std::net::TcpStream;

use testbed::{SyslogProgram, SyslogServer};

#[test]
#[ignore = "needs rsyslog and syslog-ng: cargo xtask test"]
fn writes_what_it_parsed_between_tabs() {
    for program in SyslogProgram::ALL {
        let server = SyslogServer::start(program).unwrap();
        let message = "<86>1 2026-01-31T09:15:27.042Z host app - kind [a@32473 b=\"c\"] said";
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(format!("{} {message}", message.len()).as_bytes()).unwrap();
        drop(stream);
        assert_eq!(server.lines(1), ["86\thost\tapp\tkind\t[a@32473 b=\"c\"]\tsaid"], "{program:?}");
        assert!(server.ca_pem().unwrap().contains("BEGIN CERTIFICATE"));
    }
}
