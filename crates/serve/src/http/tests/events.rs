use super::items;
use crate::testing::{
    Kind, administered, administered_with_store, block_on, patient, site, snapshot,
};
use axum::http::Request;
use serde_json::{Value, json};

#[test]
fn events_are_in_the_very_next_answer() {
    for kind in Kind::ALL {
        let site = site(vec![snapshot(kind)], patient());
        block_on(async {
            // A new user.
            let path = "/v1/users/new/recommendations?k=40";
            assert_eq!(site.get(path).await.1["basis"], "popular");
            let batch = json!({"events": [{"user": "new", "item": "i7", "key": 1}, {"user": "new", "item": "not yet known"}]});
            let (status, kept) = site.post("/v1/events", batch.clone()).await;
            assert_eq!((status.as_u16(), kept), (200, json!({"kept": 2, "repeated": 0})));
            let (_, answer) = site.get(path).await;
            let (_, by_history) =
                site.post("/v1/recommendations", json!({"history": ["i7"], "k": 40})).await;
            assert_eq!(
                (&answer["items"], &answer["basis"]),
                (&by_history["items"], &json!("history"))
            );
            let (_, again) = site.post("/v1/events", json!({"events": [batch["events"][0]]})).await;
            assert_eq!(again, json!({"kept": 0, "repeated": 1}));
            // A known user.
            let path = "/v1/users/u2/recommendations?k=40";
            let (_, before) = site.get(path).await;
            let next = items(&before)[0].clone();
            site.post("/v1/events", json!({"events": [{"user": "u2", "item": next}]})).await;
            let (_, after) = site.get(path).await;
            assert!(!items(&after).contains(&next));
            assert_eq!(items(&after).len() + 1, items(&before).len());
            let basis = if kind == Kind::Unfactored { "user_and_history" } else { "history" };
            assert_eq!(after["basis"], basis);
            // A forgotten user: neither the events nor what the model learnt counts.
            let (status, gone) = site.send("DELETE", "/v1/users/u2", "", "").await;
            assert_eq!((status.as_u16(), gone), (200, json!({"user": "u2", "events": 1})));
            assert_eq!(site.get(path).await.1["basis"], "popular");
            site.post("/v1/events", json!({"events": [{"user": "u2", "item": "i1"}]})).await;
            assert_eq!(site.get(path).await.1["basis"], "history");
        });
    }
}

#[test]
fn ids_are_checked_alike_in_every_route() {
    let site = site(vec![snapshot(Kind::Factors)], patient());
    block_on(async {
        for (id, in_path) in
            [("x\n196", "x%0A196"), ("a\tb", "a%09b"), ("a\rb", "a%0Db"), ("a\0", "a%00")]
        {
            let field = async |method: &str, path: &str, body: Value| {
                let (status, problem) =
                    site.send(method, path, "application/json", body.to_string()).await;
                assert_eq!(status, 422, "{method} {path} {body}");
                let detail = problem["errors"][0]["detail"].as_str().unwrap();
                assert!(detail.starts_with("expected an id that is not empty"), "{detail}");
                problem["errors"][0]["field"].as_str().unwrap().to_owned()
            };
            let ask = "/v1/recommendations";
            assert_eq!(field("DELETE", &format!("/v1/users/{in_path}"), json!({})).await, "id");
            assert_eq!(
                field("GET", &format!("/v1/users/{in_path}/recommendations"), json!({})).await,
                "id"
            );
            assert_eq!(
                field("GET", &format!("/v1/items/{in_path}/similar"), json!({})).await,
                "id"
            );
            assert_eq!(field("POST", ask, json!({"user": id})).await, "#/user");
            for list in ["history", "allow", "deny"] {
                assert_eq!(
                    field("POST", ask, json!({list: ["i1", id]})).await,
                    format!("#/{list}/1")
                );
            }
            let event = json!({"events": [{"user": "u1", "item": id}]});
            assert_eq!(field("POST", "/v1/events", event).await, "#/events/0/item");
        }
        assert_eq!(site.app.store.as_ref().unwrap().forgotten().unwrap(), [""; 0]);
    });
}

#[test]
fn a_store_that_cannot_be_written_makes_the_server_not_ready_until_it_can() {
    let site = site(vec![snapshot(Kind::Factors)], patient());
    let ready = || block_on(site.get("/health/ready")).0.as_u16();
    let until_ready = |expected: u16| {
        let began = std::time::Instant::now();
        while ready() != expected {
            assert!(began.elapsed().as_secs() < 60, "expected {expected}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    let store = || {
        let event = json!({"events": [{"user": "u1", "item": "i1"}]});
        block_on(site.post("/v1/events", event)).0.as_u16()
    };
    let (path, away) = (site.folder.path().join("events"), site.folder.path().join("away"));
    assert_eq!((ready(), store()), (200, 200));
    std::fs::rename(&path, &away).unwrap();
    until_ready(503); // noticed without a request
    assert_eq!(store(), 503);
    assert_eq!(block_on(site.get("/health/live")).0, 200);
    assert_eq!(block_on(site.get("/v1/users/u1/recommendations")).0, 200);
    std::fs::rename(&away, &path).unwrap();
    until_ready(200);
    assert_eq!(store(), 200);
}

#[test]
fn events_in_the_training_data_change_nothing() {
    let site = site(vec![snapshot(Kind::Factors)], patient());
    block_on(async {
        let path = "/v1/users/u4/recommendations";
        let (_, before) = site.get(path).await;
        let known = format!("i{}", snapshot(Kind::Factors).history(4)[1]);
        site.post("/v1/events", json!({"events": [{"user": "u4", "item": known}]})).await;
        assert_eq!(site.get(path).await.1, before);
    });
}

#[test]
fn an_administrator_reads_the_events_of_a_running_server() {
    block_on(async {
        let site = administered_with_store();
        let event = |user: &str, item: &str, time: Value| json!({ "user": user, "item": item, "time": time });
        let events = [
            event("u1", "i2", json!("2023-11-14T22:13:20Z")),
            event("a \"b\"", "i3", json!(1_700_000_001_250_i64)),
            event("u1", "new", json!(1_700_000_009)),
        ];
        let (status, _) = site.post("/v1/events", json!({ "events": events })).await;
        assert_eq!(status, 200);
        let read = async |path: &str, key: &str| {
            let request = Request::get(path).header("authorization", format!("Bearer {key}"));
            let response = site.raw(request).await;
            let last = response.headers().get("rankstill-last").cloned();
            let last = last.map(|last| last.to_str().unwrap().to_owned()).unwrap_or_default();
            (response.status().as_u16(), last, response.into_body())
        };
        let head = "user_id\titem_id\ttimestamp\tweight\n";
        let first = format!("{head}u1\ti2\t1700000000\t1\n\"a \"\"b\"\"\"\ti3\t1700000001\t1\n");
        assert_eq!(read("/admin/events?limit=2", "admin").await, (200, "2".into(), first));
        let rest = format!("{head}u1\tnew\t1700000009\t1\n");
        assert_eq!(read("/admin/events?after=2", "admin").await, (200, "3".into(), rest));
        assert_eq!(read("/admin/events?after=3", "admin").await, (200, "3".into(), head.into()));
        assert_eq!(read("/admin/events", "guess").await.0, 401);
        assert_eq!(read("/admin/events?limit=0", "admin").await.0, 422);
        assert_eq!(read("/admin/events?limit=65537", "admin").await.0, 422);
        let none = administered(patient());
        assert_eq!(none.get("/admin/events").await.0, 404);
    });
}

#[test]
fn a_time_that_is_none_is_refused_by_field_and_nothing_is_kept() {
    let site = site(vec![snapshot(Kind::Factors)], patient());
    block_on(async {
        let event = |time: Value| json!({"user": "u1", "item": "i2", "time": time});
        for time in [json!(5), json!("yesterday"), json!(9_999_999_999_i64), json!(true)] {
            let batch = json!({"events": [event(json!(1_700_000_000)), event(time.clone())]});
            let (status, problem) = site.post("/v1/events", batch).await;
            assert_eq!(
                (status.as_u16(), &problem["errors"][0]["field"]),
                (422, &json!("#/events/1/time"))
            );
            let detail = problem["errors"][0]["detail"].as_str().unwrap();
            assert!(detail.contains("expected a time: ISO 8601"), "{time}: {detail}");
        }
        let again = json!({"events": [event(json!(null))]});
        assert_eq!(site.post("/v1/events", again).await.1, json!({"kept": 1, "repeated": 0}));
        let (_, document) = site.get("/openapi.json").await;
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["EventTime"]["oneOf"][0]["format"], "date-time");
        assert!(schemas["Event"]["properties"]["time"].to_string().contains("EventTime"));
    });
}
