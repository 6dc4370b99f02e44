//! Opening a byte stream to the broker over any transport.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::websocket::WebSocketLink;
use crate::{Endpoint, Error, Options, Transport};

/// A byte stream in both directions.
pub(crate) trait Link: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Link for T {}

/// Opens the transport that the endpoint names.
pub(crate) async fn open(options: &Options) -> Result<Box<dyn Link>, Error> {
    let endpoint = &options.endpoint;
    if let Some(dial) = &options.dial {
        return dial.open().map_err(|source| cannot_connect(endpoint, source));
    }
    let max = options.max_packet_size as usize;
    Ok(match endpoint.transport {
        Transport::Tcp => Box::new(tcp(endpoint).await?),
        Transport::Tls => Box::new(tls(options, false).await?),
        Transport::Ws => Box::new(WebSocketLink::open(tcp(endpoint).await?, endpoint, max).await?),
        Transport::Wss => {
            Box::new(WebSocketLink::open(tls(options, true).await?, endpoint, max).await?)
        }
        Transport::Unix => unix(endpoint).await?,
    })
}

/// Opens a byte stream to a web server, on which HTTP/1.1 is spoken: an address of the kind
/// [`Transport::Wss`] stands for `https`, any other for `http`.
pub async fn web_stream(
    options: &Options,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, Error> {
    Ok(match options.endpoint.transport {
        Transport::Wss => Box::new(tls(options, true).await?) as Box<dyn Link>,
        _ => Box::new(tcp(&options.endpoint).await?),
    })
}

async fn tcp(endpoint: &Endpoint) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|source| cannot_connect(endpoint, source))?;
    // Writes are already batched per turn: Nagle would only add delay.
    stream.set_nodelay(true).map_err(|source| cannot_connect(endpoint, source))?;
    Ok(stream)
}

async fn tls(options: &Options, websocket: bool) -> Result<TlsStream<TcpStream>, Error> {
    let endpoint = &options.endpoint;
    let config = options.tls.config(websocket)?;
    let failed = |why: String| Error::Layer { layer: "TLS", at: endpoint.to_string(), why };
    let server = options.tls.server(endpoint)?;
    let stream = tcp(endpoint).await?;
    TlsConnector::from(config)
        .connect(server, stream)
        .await
        .map_err(|error| failed(error.to_string()))
}

#[cfg(unix)]
async fn unix(endpoint: &Endpoint) -> Result<Box<dyn Link>, Error> {
    match tokio::net::UnixStream::connect(&endpoint.host).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(source) => Err(cannot_connect(endpoint, source)),
    }
}

#[cfg(not(unix))]
async fn unix(endpoint: &Endpoint) -> Result<Box<dyn Link>, Error> {
    Err(cannot_connect(endpoint, io::ErrorKind::Unsupported.into()))
}

fn cannot_connect(endpoint: &Endpoint, source: io::Error) -> Error {
    Error::Connect { at: endpoint.to_string(), source }
}
