#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing::{Kind, patient, snapshot};
use crate::{App, Limits, Listen, Server, Setup, router};
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

/// What the collector received.
type Received = Arc<Mutex<Vec<otlp::Export>>>;

/// Starts a collector at the path `/otlp`; returns its URL.
async fn collector() -> (Received, String) {
    let received = Received::default();
    let kept = Arc::clone(&received);
    let take = async move |headers: HeaderMap, body: Bytes| {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        kept.lock().unwrap().push(otlp::Export::decode(body).unwrap());
    };
    let routes = Router::new().route("/otlp/v1/traces", post(take));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/otlp/", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, routes).await });
    (received, url)
}

fn spans(received: &Received) -> Vec<otlp::Span> {
    let mut received = received.lock().unwrap();
    let scopes = received.drain(..).flat_map(|export| export.resource_spans).flat_map(|one| {
        let name = otlp::attribute("service.name", Value::Text("rankstill".into()));
        assert!(one.resource.unwrap().attributes.contains(&name));
        one.scope_spans
    });
    scopes.flat_map(|scope| scope.spans).collect()
}

fn attribute(span: &otlp::Span, key: &str) -> Option<Value> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    found.map(|attribute| attribute.value.clone().unwrap().value.unwrap())
}

fn text(value: &str) -> Option<Value> {
    Some(Value::Text(value.into()))
}

/// Method, path and headers of a request.
type TestRequest<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// Sends these requests to a server and shuts it down. Returns the statuses, the counts of spans, and the
/// time of the shutdown.
async fn serve(
    traces: SpanExporter,
    limits: Limits,
    requests: &[TestRequest<'_>],
) -> (Vec<u16>, String, Duration) {
    let models = vec![snapshot(Kind::Factors)];
    let setup = Setup { models, limits, threads: 1, traces: Some(traces), ..Setup::default() };
    let app = Arc::new(App::new(setup).unwrap());
    let listen = Listen {
        address: "127.0.0.1:0".parse().unwrap(),
        hosts: Vec::new(),
        threads: 1,
        #[cfg(feature = "tls")]
        tls: None,
    };
    let server = Server::bind(Arc::clone(&app), listen).await.unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let served = tokio::spawn(server.serve(async { _ = ended.await }));
    let mut statuses = Vec::new();
    for (method, path, headers) in requests {
        let mut request = Request::builder().method(*method).uri(*path);
        for (name, value) in *headers {
            request = request.header(*name, *value);
        }
        let answer = router(Arc::clone(&app)).oneshot(request.body(Body::empty()).unwrap()).await;
        statuses.push(answer.unwrap().status().as_u16());
    }
    let began = Instant::now();
    drop(end);
    assert!(served.await.unwrap());
    let page = app.metrics.page([].into_iter(), 0);
    let counts = page.lines().filter(|line| line.starts_with("rankstill_spans_total"));
    (statuses, counts.collect::<Vec<_>>().join("\n"), began.elapsed())
}

fn on_the_network<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(work)
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[test]
fn each_request_has_a_span_and_the_last_ones_are_sent_at_shutdown() {
    on_the_network(async {
        let (received, url) = collector().await;
        let (given, silent) =
            (format!("00-{TRACE}-{PARENT}-01"), format!("00-{TRACE}-{PARENT}-00"));
        let requests: [TestRequest<'_>; 4] = [
            (
                "GET",
                "/v1/users/u1/recommendations?k=3",
                &[("traceparent", &given), ("tracestate", "shop=1"), ("x-request-id", "mine")],
            ),
            ("GET", "/v1/users/u2/recommendations?k=0", &[]),
            ("BREW", "/coffee", &[("traceparent", "00-nonsense")]),
            ("GET", "/v1/models", &[("traceparent", &silent)]),
        ];
        let before = super::now();
        let (statuses, counts, _) =
            serve(SpanExporter::to(&url).unwrap(), patient(), &requests).await;
        assert_eq!(statuses, [200, 422, 404, 200]);
        let spans = spans(&received);
        assert_eq!(spans.len(), 3, "a trace that the client does not record is not recorded");
        assert_eq!(counts, "rankstill_spans_total{outcome=\"sent\"} 3");

        let [first, second, third] = &spans[..] else { panic!() };
        assert_eq!(first.name, "GET /v1/users/{id}/recommendations");
        assert_eq!(first.kind, otlp::SERVER);
        assert_eq!(first.trace_id, hex::<16>(TRACE).unwrap());
        assert_eq!(first.parent_span_id, hex::<8>(PARENT).unwrap());
        assert_eq!(first.trace_state, "shop=1");
        assert!(before <= first.start && first.start <= first.end && first.end <= super::now());
        assert_eq!(attribute(first, "http.request.method"), text("GET"));
        assert_eq!(attribute(first, "http.route"), text("/v1/users/{id}/recommendations"));
        assert_eq!(attribute(first, "http.response.status_code"), Some(Value::Int(200)));
        assert_eq!(attribute(first, "rankstill.model"), text("toy"));
        assert_eq!(attribute(first, "rankstill.request_id"), text("mine"));
        assert_eq!(attribute(first, "rankstill.degraded"), Some(Value::Bool(false)));
        assert!(!format!("{spans:?}").contains("u1"), "no ids of users");

        assert_eq!(attribute(second, "http.response.status_code"), Some(Value::Int(422)));
        assert_eq!((second.trace_id.len(), second.span_id.len()), (16, 8));
        assert!(second.parent_span_id.is_empty());
        assert_eq!(third.name, "HTTP");
        assert_eq!(attribute(third, "http.request.method"), text("_OTHER"));
        assert_eq!(attribute(third, "http.route"), None);
        assert!(third.parent_span_id.is_empty(), "an invalid traceparent begins a new trace");
        assert!(
            spans.iter().all(|span| span.status.is_none()),
            "a client's mistake is not a failure of the server"
        );
        assert!(second.trace_id != third.trace_id && second.span_id != third.span_id);
    });
}

#[test]
fn a_span_names_the_fallback_and_marks_failures() {
    on_the_network(async {
        let (received, url) = collector().await;
        let path = "/v1/users/stranger/recommendations";
        let request: [TestRequest<'_>; 1] = [("GET", path, &[])];
        let full = Limits { queue: 0, ..patient() };
        serve(SpanExporter::to(&url).unwrap(), full.clone(), &request).await;
        let refusing = Limits { degrade: false, ..full };
        let (statuses, ..) = serve(SpanExporter::to(&url).unwrap(), refusing, &request).await;
        assert_eq!(statuses, [503]);
        let spans = spans(&received);
        assert_eq!(attribute(&spans[0], "rankstill.degraded"), Some(Value::Bool(true)));
        assert_eq!(attribute(&spans[0], "rankstill.rung"), text("popular"));
        assert!(spans[0].status.is_none());
        assert_eq!(attribute(&spans[1], "rankstill.rung"), None);
        assert_eq!(spans[1].status.as_ref().unwrap().code, otlp::ERROR);
    });
}

#[test]
fn without_a_collector_requests_are_still_answered() {
    on_the_network(async {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let traces = SpanExporter::to(&format!("http://{closed}")).unwrap();
        let request: TestRequest<'_> = ("GET", "/v1/users/u1/recommendations", &[]);
        let (statuses, counts, took) = serve(traces, patient(), &[request; 5]).await;
        assert_eq!(statuses, [200; 5]);
        assert_eq!(counts, "rankstill_spans_total{outcome=\"refused\"} 5");
        assert!(took < FLUSH, "{took:?}");
    });
}

#[test]
fn a_slow_collector_costs_spans_but_no_time() {
    on_the_network(async {
        let slow = TcpListener::bind("127.0.0.1:0").await.unwrap(); // never answers
        let url = format!("http://{}", slow.local_addr().unwrap());
        let traces = SpanExporter::with_queue(&url, 2).unwrap();
        // The sending task has not started yet.
        let metrics = Metrics::new(Arc::default());
        for _ in 0..5 {
            let end = SpanEnd {
                method: "GET",
                route: "/",
                status: 200,
                model: "",
                request_id: "",
                rung: None,
            };
            traces.record(RequestSpan::begin(&HeaderMap::new()), &end, &metrics);
        }
        let dropped = metrics.page([].into_iter(), 0);
        assert!(dropped.contains("rankstill_spans_total{outcome=\"dropped\"} 3"), "{dropped}");
        let (statuses, counts, took) =
            serve(traces, patient(), &[("GET", "/health/live", &[])]).await;
        assert_eq!(statuses, [200]);
        assert!(counts.contains("refused"), "{counts}");
        assert!(
            took >= Duration::from_secs(1) && took < FLUSH + Duration::from_secs(3),
            "{took:?}"
        );
        drop(slow);
    });
}

#[test]
fn traceparent_is_read_according_to_the_standard() {
    let read = |text: &str| parse(text).map(|(trace, _, recorded)| (trace[0], recorded));
    assert_eq!(read(&format!("00-{TRACE}-{PARENT}-01")), Some((0x4b, true)));
    assert_eq!(read(&format!("00-{TRACE}-{PARENT}-02")), Some((0x4b, false)));
    assert_eq!(read(&format!("cc-{TRACE}-{PARENT}-01-what-will-be")), Some((0x4b, true)));
    for wrong in [
        String::new(),
        format!("00-{TRACE}-{PARENT}-01-more"),
        format!("ff-{TRACE}-{PARENT}-01"),
        format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
        format!("00-{}-{PARENT}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{TRACE}-{PARENT}"),
        format!("00-{TRACE}é-{PARENT}-01"),
        format!("00-{TRACE}-{PARENT}-+1"),
    ] {
        assert_eq!(read(&wrong), None, "{wrong}");
    }
}

#[test]
fn an_invalid_collector_is_named() {
    for (url, expected) in [
        ("https://collector:4318", "expected http://HOST:PORT"),
        ("collector:4318", "expected http://HOST:PORT"),
        ("http://", "otlp: http://"),
    ] {
        let message = SpanExporter::to(url).unwrap_err().to_string();
        assert!(message.contains(url) && message.contains(expected), "{message}");
    }
    let traces = SpanExporter::to("http://collector:4318").unwrap();
    assert_eq!(traces.collector, "http://collector:4318/v1/traces");
}
