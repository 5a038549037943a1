use crate::testing::{Kind, administered, block_on, patient, site, snapshot};
use axum::http::Request;
use serde_json::json;

#[test]
fn a_request_keeps_its_id_if_that_is_safe() {
    let site = site(vec![snapshot(Kind::Factors)], patient());
    block_on(async {
        let id_of = async |given: Option<&str>| {
            let mut request = Request::builder().uri("/health/live");
            if let Some(given) = given {
                request = request.header("x-request-id", given);
            }
            let response = site.raw(request).await;
            response.headers()["x-request-id"].to_str().unwrap().to_owned()
        };
        assert_eq!(id_of(Some("abc-1")).await, "abc-1");
        assert_ne!(id_of(Some("a b")).await, "a b");
        assert_ne!(id_of(Some(&"x".repeat(129))).await.len(), 129);
        assert_ne!(id_of(None).await, id_of(None).await);
    });
}

#[test]
fn requests_and_events_are_counted() {
    let site = site(vec![snapshot(Kind::Factors)], patient());
    block_on(async {
        for _ in 0..3 {
            site.get("/v1/users/u1/recommendations").await;
        }
        site.get("/v1/nothing").await;
        site.post("/v1/events", json!({"events": [{"user": "u1", "item": "i1"}]})).await;
        let page = site.raw(Request::get("/metrics")).await.into_body();
        for line in [
            r#"rankstill_request_duration_seconds_count{method="GET",route="/v1/users/{id}/recommendations",status="200",model="toy"} 3"#,
            r#"rankstill_request_duration_seconds_count{method="GET",route="other",status="404",model=""} 1"#,
            r#"rankstill_events_total{outcome="kept"} 1"#,
            r#"kind="toy"} 1"#,
            "rankstill_waiting 0",
            "# EOF",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    });
}

#[test]
fn the_page_loads_nothing_from_other_hosts() {
    let site = administered(patient());
    block_on(async {
        let (_, found) = site.get("/v1/items?search=nOUg").await;
        assert_eq!(found, json!({"items": [{"item": "i0", "title": "Nought"}]}));
        let mut names = vec!["/".to_owned()];
        while let Some(path) = names.pop() {
            let response = site.raw(Request::get(&path)).await;
            assert_eq!(response.status().as_u16(), 200, "{path}: the page itself needs no key");
            let policy = response.headers()["content-security-policy"].to_str().unwrap();
            assert!(
                policy.contains("default-src 'none'")
                    && !policy.contains("-inline")
                    && !policy.contains("-eval"),
                "{policy}"
            );
            let text = response.into_body();
            let outside = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("http:") && !outside.contains("https:"), "{path}");
            assert!(!text.contains("innerHTML") && !text.contains("style="), "{path}");
            for part in ["href=\"/page", "src=\"/page"] {
                names.extend(
                    text.split(part)
                        .skip(1)
                        .map(|tail| format!("/page{}", tail.split('"').next().unwrap())),
                );
            }
        }
    });
}
