use crate::testing::{administered, block_on, patient};
use axum::http::Request;
use serde_json::json;
use std::time::Duration;

#[test]
fn a_version_can_be_swapped_and_rolled_back() {
    let site = administered(patient());
    block_on(async {
        let version = async || site.get("/v1/users/u1/recommendations").await.1["version"].clone();
        let first = version().await;
        let swap = async |artefact: &str| {
            site.post("/admin/models/toy/swap", json!({ "artefact": artefact })).await
        };
        assert_eq!(site.post("/admin/models/toy/rollback", json!({})).await.0.as_u16(), 409);
        for broken in ["broken", "nowhere"] {
            let (status, problem) = swap(broken).await;
            assert_eq!(
                (status.as_u16(), &problem["errors"][0]["field"]),
                (422, &json!("#/artefact"))
            );
            assert_eq!(version().await, first, "a version that failed its checks does not answer");
        }
        let (_, swapped) = swap("other").await;
        assert_eq!((&swapped["previous"], &swapped["version"]), (&first, &version().await));
        let second = version().await;
        assert_ne!(first, second);
        for expected in [&first, &second] {
            site.post("/admin/models/toy/rollback", json!({})).await;
            assert_eq!(&version().await, expected);
        }
        assert_eq!(
            site.post("/admin/models/none/swap", json!({"artefact": "other"})).await.0.as_u16(),
            422
        );
        let (_, list) = site.get("/v1/models").await;
        assert_eq!(list["models"][0]["previous"], first);
    });
}

#[test]
fn a_challenger_is_compared_silently_or_answers_its_share() {
    let site = administered(patient());
    block_on(async {
        let report = async || site.get("/v1/models").await.1["models"][0]["challenger"].clone();
        let settled = async |n: u64| {
            for _ in 0..500 {
                let now = report().await;
                if now["report"]["compared"] == n {
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{}", report().await);
        };
        let (_, alone) = site.get("/v1/users/u1/recommendations").await;
        let begin = async |artefact: &str, mode: &str, share: f64| {
            let trial = json!({"mode": mode, "share": share});
            let body = json!({"artefact": artefact, "trial": trial}).to_string();
            let path = "/admin/models/toy/challenger";
            let (status, problem) = site.send("PUT", path, "application/json", body).await;
            assert_eq!(status.as_u16(), 200, "{problem}");
        };
        begin("other", "shadow", 1.0).await;
        for _ in 0..3 {
            assert_eq!(site.get("/v1/users/u1/recommendations").await.1, alone);
        }
        let same = settled(3).await;
        assert_eq!(
            (&same["report"]["overlap"], &same["report"]["rbo"]),
            (&json!(1.0), &json!(1.0))
        );
        begin("unfactored", "canary", 1.0).await;
        let (_, other) = site.get("/v1/users/u1/recommendations").await;
        assert_ne!(other["items"], alone["items"]);
        let differs = settled(1).await;
        assert!(differs["report"]["rbo"].as_f64().unwrap() < 1.0);
        begin("unfactored", "canary", 0.0).await;
        assert_eq!(site.get("/v1/users/u1/recommendations").await.1, alone);
        let (status, promoted) = site.post("/admin/models/toy/challenger/promote", json!({})).await;
        assert_eq!(status.as_u16(), 200);
        let (_, after) = site.get("/v1/users/u1/recommendations").await;
        assert_eq!(after["items"], other["items"]);
        assert_eq!(after["version"], promoted["version"]);
        assert!(report().await.is_null());
        let (status, _) = site.send("DELETE", "/admin/models/toy/challenger", "", "").await;
        assert_eq!(status.as_u16(), 409);
    });
}

#[test]
fn the_guard_ends_the_trial_of_a_bad_challenger() {
    let site = administered(patient());
    block_on(async {
        let (_, alone) = site.get("/v1/users/u1/recommendations?k=3").await;
        let guard = json!({"after": 2, "min_overlap": 0.99, "max_latency_ratio": 1e9});
        let body = json!({"artefact": "unfactored", "trial": {"mode": "canary", "share": 1.0, "guard": guard}});
        let path = "/admin/models/toy/challenger";
        site.send("PUT", path, "application/json", body.to_string()).await;
        for _ in 0..500 {
            site.get("/v1/users/u1/recommendations?k=3").await;
            if site.get("/v1/models").await.1["models"][0]["challenger"].is_null() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(site.get("/v1/users/u1/recommendations?k=3").await.1, alone);
    });
}

#[test]
fn a_route_with_keys_needs_a_valid_key() {
    let site = administered(patient());
    block_on(async {
        let status = async |path: &str, key: &str| {
            let method = if path.starts_with("/admin") { "POST" } else { "GET" };
            let request = Request::builder().method(method).uri(path);
            let request = request.header("authorization", format!("Bearer {key}"));
            site.raw(request).await.status().as_u16()
        };
        for (path, key, expected) in [
            ("/v1/models", "shop", 200),
            ("/v1/models", "admin", 401),
            ("/v1/models", "", 401),
            ("/metrics", "", 401),
            ("/admin/models/toy/rollback", "shop", 401),
            ("/admin/models/toy/rollback", "admin", 409),
            ("/health/live", "", 200),
            ("/openapi.json", "", 200),
        ] {
            assert_eq!(status(path, key).await, expected, "{path} {key}");
        }
    });
}
