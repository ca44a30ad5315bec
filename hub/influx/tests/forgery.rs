//! What a device's text can do to a server: with the points of the crate `influxdb2`, forge one of another tenant; with
//! ours, be a text. Against a real influxd.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "the whole file is a test")]

use influxdb2::{Client, models::DataPoint};
use muster_influx::{
    answer::Answer,
    line::{Point, Value, encode},
    server::{Server, Token},
    transport::Transport,
};

mod servers;

use servers::{Influxd, is_here};

/// A text that a device sends, for a bucket whose tenants are told apart by a tag.
const TEXT: &str = "hello\\\"\nenv,tenant=VICTIM,device=x temp=666\n#";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn a_text_of_a_device_forges_a_point_through_the_crate_s_own_encoder() {
    if !is_here("influxd") {
        return;
    }
    let server = Influxd::start(&[("token", "shared")]);
    let point = DataPoint::builder("env")
        .tag("tenant", "mallory")
        .tag("device", "m")
        .field("note", TEXT)
        .timestamp(1);
    let client = Client::new(server.door.url(), "org", "token");
    let points = futures_of(vec![point.build().expect("the crate has nothing against it")]);
    let sent = runtime().block_on(client.write("shared", points));
    assert!(sent.is_ok(), "the server has nothing against it either: {sent:?}");
    let series = server.series("shared");
    assert!(
        series.contains(&"env,device=x,tenant=VICTIM".to_owned()),
        "the victim's series is there: {series:?}"
    );
    let found = server.query("shared", "SELECT temp FROM env WHERE tenant = 'VICTIM'");
    assert_eq!(
        found["results"][0]["series"][0]["values"][0][1], 666,
        "with a reading that it never sent: {found}"
    );
}

#[test]
fn through_ours_it_is_a_text_and_nothing_else() {
    if !is_here("influxd") {
        return;
    }
    let server = Influxd::start(&[("token", "shared")]);
    let mut lines = String::new();
    // In every place that a device may fill.
    let tags = [("device", TEXT), (TEXT, "m"), ("tenant", "mallory")];
    let mut tags: Vec<_> = tags.to_vec();
    tags.sort_unstable();
    let fields = [("note", Value::Text(TEXT)), (TEXT, Value::Float(1.0))];
    for measurement in ["env", TEXT] {
        let point = Point { measurement, tags: &tags, fields: &fields, time_ns: 1 };
        encode(&point, &mut lines).expect("a line");
    }
    let to = Server::new(&server.door.url(), "org", None, &[]).expect("a server");
    let transport =
        Transport::new(&to, "shared", &Token::parse("token").expect("a token")).expect("prepared");
    assert_eq!(runtime().block_on(transport.write(&lines)), Answer::Accepted);
    let series = server.series("shared");
    assert_eq!(series.len(), 2, "{series:?}");
    let found = server.query("shared", "SELECT * FROM /.*/ WHERE tenant = 'VICTIM'");
    assert!(found["results"][0].get("series").is_none(), "the victim has nothing: {found}");
    let found = server.query("shared", "SELECT note FROM env");
    assert_eq!(found["results"][0]["series"][0]["values"][0][1], TEXT);
    assert_eq!(server.values("shared"), 4, "two points of two fields, and nothing else");
}

/// A stream of these, of the kind that the crate takes.
fn futures_of<T: Send + Sync + Unpin + 'static>(
    items: Vec<T>,
) -> impl futures_core::Stream<Item = T> + Send + Sync {
    struct Items<T>(std::vec::IntoIter<T>);
    impl<T: Unpin> futures_core::Stream for Items<T> {
        type Item = T;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<T>> {
            std::task::Poll::Ready(self.0.next())
        }
    }
    Items(items.into_iter())
}
