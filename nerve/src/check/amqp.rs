//! A login and, unless only that is requested, a message's way through a queue: declare, publish, get, acknowledge.
//!
//! By hand and in the probe's own task: the client libraries keep a thread or a task per connection, which stays behind
//! when a server that hangs is given up on.

use std::sync::OnceLock;

use common::tls::{TlsClient, TlsError};

use super::connection::Connection;
use super::login::{hide, read};
use super::wire::CAP;
use super::wire::amqp::{self as wire, Frame};
use crate::config::data_source::amqp::Target;
use crate::config::{AmqpConfig, CheckConfig};
use crate::health::verdict::{Failure, FailureKind};

/// What is published, as in Go-Nerve.
const MESSAGE: &[u8] = b"nerve";

#[derive(Debug)]
pub(super) struct AmqpProbe {
    config: AmqpConfig,
    /// Made when it is needed, for it reads the machine's roots: a data source may turn out to be `amqps`.
    tls: OnceLock<TlsClient>,
}

impl AmqpProbe {
    pub(super) fn new(config: &AmqpConfig) -> Result<Self, TlsError> {
        let probe = Self {
            config: config.clone(),
            tls: OnceLock::new(),
        };
        if config.tls.is_some() {
            probe.tls()?;
        }
        Ok(probe)
    }

    pub(super) async fn probe(&self, check: &CheckConfig) -> Result<String, Failure> {
        let password = read(&self.config.password)?;
        let target = self.target(check, &password)?;
        let outcome = self.converse(check, &target).await;
        outcome
            .map_err(|failure| hide(failure, &target.password))
            .map_err(|failure| hide(failure, &password))
    }

    fn target(&self, check: &CheckConfig, password: &str) -> Result<Target, Failure> {
        let datasource = self.config.datasource.as_ref().map(read).transpose()?;
        let place = (check.host.as_str(), check.port);
        self.config
            .target(place, check.timeout, datasource.as_deref(), password)
            .map_err(|what| Failure::new(FailureKind::Secret, format!("datasource {what}")))
    }

    fn tls(&self) -> Result<&TlsClient, TlsError> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let tls = TlsClient::new(self.config.tls.clone().unwrap_or_default(), &[])?;
        Ok(self.tls.get_or_init(|| tls))
    }

    async fn converse(&self, check: &CheckConfig, target: &Target) -> Result<String, Failure> {
        let tls = target.tls.then(|| self.tls()).transpose();
        let tls = tls.map_err(|error| Failure::new(FailureKind::Connection, error.to_string()))?;
        let place = (target.host.as_str(), target.port);
        let mut server = Connection::open(place, check.prefer_ipv4, tls).await?;
        log_in(&mut server, target).await?;
        let seen = match &self.config.queue {
            None => "logged in".to_owned(),
            Some(queue) => {
                round_trip(&mut server, queue).await?;
                format!("a message went through queue {queue}")
            }
        };
        expect(&mut server, &wire::close(), &wire::CONNECTION_CLOSE_OK).await?;
        Ok(seen)
    }
}

async fn log_in(server: &mut Connection, target: &Target) -> Result<(), Failure> {
    match call(server, wire::HEADER).await? {
        Frame::Start { mechanisms } if mechanisms.split(' ').any(|name| name == "PLAIN") => {}
        Frame::Start { mechanisms } => {
            return Err(answer(format!(
                "it takes no name and password (PLAIN), only {mechanisms}"
            )));
        }
        other => return Err(unexpected(&other)),
    }
    let frame_max = match call(server, &wire::start_ok(&target.username, &target.password)).await? {
        Frame::Tune { frame_max } => frame_max,
        other => return Err(unexpected(&other)),
    };
    let open = wire::tune_ok_and_open(frame_max, &target.vhost);
    expect(server, &open, &wire::CONNECTION_OPEN_OK).await
}

async fn round_trip(server: &mut Connection, queue: &str) -> Result<(), Failure> {
    expect(server, &wire::open_channel(), &wire::CHANNEL_OPEN_OK).await?;
    expect(server, &wire::declare(queue), &wire::DECLARE_OK).await?;
    server.send(&wire::publish(queue, MESSAGE)).await?;
    let delivery = match call(server, &wire::get(queue)).await? {
        Frame::GetOk { delivery } => delivery,
        wire::GET_EMPTY => return Err(answer(format!("what was published to queue {queue} is not in it"))),
        other => return Err(unexpected(&other)),
    };
    let message = content(server).await?;
    server.send(&wire::ack(delivery)).await?;
    if message == MESSAGE {
        Ok(())
    } else {
        Err(answer(format!("queue {queue} holds messages of another program")))
    }
}

/// The content of a message that was announced.
async fn content(server: &mut Connection) -> Result<Vec<u8>, Failure> {
    let size = match next(server).await? {
        Frame::ContentHeader { size } => usize::try_from(size).unwrap_or(usize::MAX),
        other => return Err(unexpected(&other)),
    };
    if size > CAP {
        return Err(answer(format!("a message of {size} bytes")));
    }
    let mut content = Vec::new();
    while content.len() < size {
        match next(server).await? {
            Frame::Body(part) => content.extend(part),
            other => return Err(unexpected(&other)),
        }
    }
    Ok(content)
}

async fn expect(server: &mut Connection, request: &[u8], reply: &Frame) -> Result<(), Failure> {
    let frame = call(server, request).await?;
    if frame == *reply {
        Ok(())
    } else {
        Err(unexpected(&frame))
    }
}

async fn call(server: &mut Connection, request: &[u8]) -> Result<Frame, Failure> {
    server.send(request).await?;
    next(server).await
}

/// The next frame with content.
async fn next(server: &mut Connection) -> Result<Frame, Failure> {
    loop {
        let frame = server.receive(wire::frame).await?;
        if frame != Frame::Heartbeat {
            return Ok(frame);
        }
    }
}

fn unexpected(frame: &Frame) -> Failure {
    answer(match frame {
        Frame::Close { code, text } => format!("it closed with {code} {text}"),
        Frame::Blocked { reason } => format!("it takes no messages: {reason}"),
        // Contents are not shown.
        Frame::Body(_) => "it sent a message out of turn".to_owned(),
        other => format!("it sent {other:?} out of turn"),
    })
}

fn answer(text: String) -> Failure {
    Failure::new(FailureKind::Answer, text)
}
