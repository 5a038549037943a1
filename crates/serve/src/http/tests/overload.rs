use super::items;
use crate::testing::{Gate, Kind, N_ITEMS, artefact, block_on, gated, patient, site, snapshot};
use crate::{Limits, Snapshot};
use axum::http::Request;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_full_queue_refuses_and_late_requests_are_not_computed() {
    let gate = Gate::open();
    let slow =
        Snapshot::new("slow", artefact(N_ITEMS), gated(&gate), Default::default(), None).unwrap();
    let limits =
        Limits { queue: 4, deadline: Duration::from_millis(300), degrade: false, ..patient() };
    let site = Arc::new(site(vec![slow], limits));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        gate.set(false);
        // Requests of different lengths are not batched: two are being computed, four wait, the others are
        // refused.
        let send = |k: usize| {
            let site = Arc::clone(&site);
            tokio::spawn(async move {
                site.get(&format!("/v1/users/u1/recommendations?k={}", k + 1)).await
            })
        };
        let mut sent = Vec::new();
        for k in 0..2 {
            sent.push(send(k));
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        for k in 2..10 {
            sent.push(send(k));
        }
        let mut details = Vec::new();
        for request in sent {
            let (status, problem) = request.await.unwrap();
            assert_eq!(status.as_u16(), 503);
            details.push(problem["detail"].as_str().unwrap().to_owned());
        }
        let refused = details.iter().filter(|detail| detail.contains("too many")).count();
        let late = details.iter().filter(|detail| detail.contains("deadline")).count();
        assert_eq!((refused, late), (4, 6), "{details:?}");
        gate.set(true);
        let mut tries = 0;
        while site.get("/v1/users/u1/recommendations").await.0 != 200 {
            tries += 1;
            assert!(tries < 100, "the server has not recovered");
        }
    });
}

#[test]
fn a_model_that_panics_fails_its_own_requests_only() {
    let site = site(vec![snapshot(Kind::Panics)], Limits { degrade: false, ..patient() });
    block_on(async {
        let (status, problem) = site.post("/v1/recommendations", json!({"history": ["i13"]})).await;
        assert_eq!((status.as_u16(), &problem["title"]), (500, &json!("The server failed")));
        let (status, _) = site.post("/v1/recommendations", json!({"history": ["i12"]})).await;
        assert_eq!(status.as_u16(), 200);
    });
}

#[test]
fn the_fallback_answers_for_a_model_that_cannot() {
    let gate = Gate::open();
    let slow =
        Snapshot::new("slow", artefact(N_ITEMS), gated(&gate), Default::default(), None).unwrap();
    let late = Limits { deadline: Duration::from_millis(200), ..patient() };
    let site = site(vec![slow], late);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (_, before) = site.get("/v1/users/u1/recommendations").await;
        assert!(before["degraded"].is_null(), "{before}");
        gate.set(false);
        let (status, after) = site.get("/v1/users/u1/recommendations?k=4").await;
        assert_eq!((status.as_u16(), &after["degraded"]), (200, &json!("cached")));
        assert_eq!(items(&after), items(&before)[..4]);
        // Items seen since then, and denied items, are left out.
        let (first, second) = (items(&before)[0].clone(), items(&before)[1].clone());
        site.post("/v1/events", json!({"events": [{"user": "u1", "item": first}]})).await;
        let body = json!({"user": "u1", "deny": [second], "k": 3});
        let (_, filtered) = site.post("/v1/recommendations", body).await;
        assert_eq!(items(&filtered), items(&before)[2..5]);
        let (_, unknown) = site.post("/v1/recommendations", json!({"history": ["i3"]})).await;
        assert_eq!(unknown["degraded"], "popular");
        assert!(!items(&unknown).contains(&"i3".into()));
        gate.set(true);
        let mut tries = 0;
        while !site.get("/v1/users/u2/recommendations").await.1["degraded"].is_null() {
            tries += 1;
            assert!(tries < 100, "the server has not recovered");
        }
    });
}

#[test]
fn without_a_cached_list_the_fallback_uses_similar_items() {
    // Nothing can be queued: every answer comes from the fallback.
    let site = site(vec![snapshot(Kind::Factors)], Limits { queue: 0, ..patient() });
    block_on(async {
        let body = json!({"history": ["i5"], "k": 6});
        let (_, answer) = site.post("/v1/recommendations", body).await;
        assert_eq!(
            (&answer["degraded"], &answer["basis"]),
            (&json!("item_to_item"), &json!("history"))
        );
        let similar = snapshot(Kind::Factors).similar(5, 6).unwrap();
        assert_eq!(
            items(&answer),
            similar.iter().map(|(item, _)| format!("i{item}")).collect::<Vec<_>>()
        );
        let (_, unknown) = site.post("/v1/recommendations", json!({})).await;
        assert_eq!(unknown["degraded"], "popular");
    });
}

#[test]
fn a_server_whose_models_hang_is_not_ready() {
    let gate = Gate::open();
    let slow =
        Snapshot::new("slow", artefact(N_ITEMS), gated(&gate), Default::default(), None).unwrap();
    let soon = Duration::from_millis(50);
    let site = site(vec![slow], Limits { deadline: soon, arrival: soon, ..patient() });
    block_on(async {
        assert_eq!(site.get("/health/ready").await.0, 200);
        gate.set(false);
        for k in 1..5 {
            site.get(&format!("/v1/users/u1/recommendations?k={k}")).await; // two threads hang, two requests wait
        }
        tokio::time::sleep(4 * soon).await;
        let (status, problem) = site.get("/health/ready").await;
        assert_eq!(
            (status.as_u16(), &problem["detail"]),
            (503, &json!("the models do not answer"))
        );
        gate.set(true);
        let mut tries = 0;
        while site.get("/health/ready").await.0 != 200 {
            tokio::time::sleep(soon).await;
            tries += 1;
            assert!(tries < 200, "the server has not recovered");
        }
    });
}

#[test]
fn a_busy_server_refuses_requests_but_stays_healthy() {
    let site = site(vec![snapshot(Kind::Factors)], Limits { in_progress: 0, ..patient() });
    block_on(async {
        let (status, problem) = site.get("/v1/users/u1/recommendations").await;
        assert_eq!((status.as_u16(), &problem["title"]), (503, &json!("The server is overloaded")));
        assert_eq!(site.get("/health/live").await.0.as_u16(), 200);
        assert_eq!(site.get("/health/ready").await.0.as_u16(), 200);
        assert_eq!(site.raw(Request::get("/metrics")).await.status(), 200);
    });
}
