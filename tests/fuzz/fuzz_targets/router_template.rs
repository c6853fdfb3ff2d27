//! Any text as the template of a router over two services: it is refused when it is read, or it renders, or it returns why
//! not; and no server adds a line to the file.
#![no_main]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use synapse::desired::{Desired, Server, Service};
use synapse::template::Template;

/// A service with one server, in whose words there may be line feeds.
fn service(id: &str, text: &str) -> Service {
    let server = Server {
        node: "node".into(),
        name: text.to_owned(),
        address: SocketAddr::from(([10, 0, 0, 1], 80)),
        weight: Some(5),
        options: text.to_owned(),
        labels: BTreeMap::from([("zone".to_owned(), text.to_owned()), (text.to_owned(), "a".to_owned())]),
        created: 1,
        backup: false,
    };
    Service {
        id: id.to_owned(),
        servers: Some([server].into()),
        remembered: false,
    }
}

fuzz_target!(|text: &str| {
    let template = match Template::parse("t", text) {
        Ok(template) => template,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let render = |text: &str| {
        let services = vec![service("web_1", text), service("db_2", "b")];
        template.render(&BTreeMap::new(), &Desired { services })
    };
    // The template may count letters, so the same length.
    if let (Ok(hostile), Ok(plain)) = (render("a\nb"), render("ab")) {
        assert_eq!(hostile, plain);
    }
});
