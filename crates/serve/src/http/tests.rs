#![allow(clippy::unwrap_used)]
use crate::testing::{
    Gate, Kind, N_ITEMS, administered, artefact, block_on, gated, named, patient, site, snapshot,
};
use crate::{Limits, Snapshot};
use serde_json::{Value, json};
use std::time::Duration;

fn items(answer: &Value) -> Vec<String> {
    let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    items.iter().map(|item| item["item"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_user_gets_the_models_answer() {
    let site = site(vec![snapshot(Kind::Factors)], patient());
    block_on(async {
        let (status, answer) = site.get("/v1/users/u3/recommendations?k=5").await;
        assert_eq!(
            (status.as_u16(), &answer["basis"], &answer["user"]),
            (200, &json!("user"), &json!("u3"))
        );
        let snapshot = snapshot(Kind::Factors);
        let query =
            rankstill_core::Query { user: Some(3), history: snapshot.history(3), hidden: &[] };
        let ranked = snapshot.rank(&[query], &rankstill_core::TopK::unseen(5)).unwrap();
        let expected: Vec<String> = ranked.items(0).iter().map(|item| format!("i{item}")).collect();
        assert_eq!(items(&answer), expected);
        for (item, score) in answer["items"].as_array().unwrap().iter().zip(ranked.scores(0)) {
            assert_eq!(item["score"].as_f64().unwrap() as f32, *score);
        }
        assert_eq!(answer["version"], snapshot.version);
        let (_, posted) = site.post("/v1/recommendations", json!({"user": "u3", "k": 5})).await;
        assert_eq!(posted, answer);
        let (_, longer) = site.get("/v1/users/u3/recommendations?with_seen=true&k=40").await;
        assert_eq!(items(&longer).len(), N_ITEMS);
    });
}

#[test]
fn nobody_gets_what_is_popular_and_a_history_its_own() {
    let site = site(vec![snapshot(Kind::Factors)], patient());
    block_on(async {
        let (_, stranger) = site.get("/v1/users/new%20one/recommendations").await;
        assert_eq!((&stranger["basis"], items(&stranger).len()), (&json!("popular"), 10));
        let popular = snapshot(Kind::Factors).most_popular(10, &[], None);
        assert_eq!(
            items(&stranger),
            popular.iter().map(|(item, _)| format!("i{item}")).collect::<Vec<_>>()
        );
        let body = json!({"history": ["i5", "no such item", "i9"], "k": 40});
        let (_, answer) = site.post("/v1/recommendations", body).await;
        assert_eq!(
            (&answer["basis"], &answer["unknown_items"]),
            (&json!("history"), &json!(["no such item"]))
        );
        let found = items(&answer);
        assert!(
            found.len() == 38 && !found.contains(&"i5".into()) && !found.contains(&"i9".into())
        );
        // A known user with a history since: this model has to be asked as for a stranger with all of it.
        let (_, both) =
            site.post("/v1/recommendations", json!({"user": "u0", "history": ["i5"]})).await;
        let snapshot = snapshot(Kind::Factors);
        let mut whole: Vec<String> = snapshot.history(0).iter().map(|i| format!("i{i}")).collect();
        whole.push("i5".into());
        let (_, alone) = site.post("/v1/recommendations", json!({ "history": whole })).await;
        assert_eq!((items(&both), &both["basis"]), (items(&alone), &json!("history")));
    });
}

#[test]
fn lists_and_filters_say_what_may_be_recommended() {
    let site = site(vec![snapshot(Kind::Factors)], patient());
    block_on(async {
        let ask = async |body: Value| site.post("/v1/recommendations", body).await.1;
        let all = items(&ask(json!({"user": "u1", "k": 40})).await);
        let number = |item: &String| item[1..].parse::<usize>().unwrap();
        let expect = |may: &dyn Fn(usize) -> bool| -> Vec<String> {
            all.iter().filter(|item| may(number(item))).cloned().collect()
        };
        let red = ask(json!({"user": "u1", "k": 40, "filter": {"colour": ["red"]}})).await;
        assert_eq!(items(&red), expect(&|i| i % 2 == 0));
        assert_eq!(red["items"][0]["attributes"]["colour"], json!(["red"]));
        let both = json!({"colour": ["red", "blue"], "size": ["big"]});
        let big = ask(json!({"user": "u1", "k": 40, "filter": both, "deny": ["i6", "?"]})).await;
        assert_eq!(items(&big), expect(&|i| i % 3 == 0 && i != 6));
        let few = ask(json!({"user": "u1", "k": 40, "allow": ["i2", "i3", "i4"], "filter": {"colour": ["red"]}})).await;
        assert_eq!(items(&few), expect(&|i| i == 2 || i == 4));
        assert_eq!(items(&ask(json!({"user": "u1", "allow": []})).await), [""; 0]);
        let seen = ask(json!({"user": "u1", "k": 40, "with_seen": true, "deny": [all[0]]})).await;
        assert_eq!(items(&seen).len(), N_ITEMS - 1);
        assert!(!items(&seen).contains(&all[0]));
        let unknown = ask(json!({"user": "u1", "filter": {"weight": ["heavy"]}})).await;
        assert_eq!(unknown["errors"][0]["field"], "#/filter/weight");
        assert!(
            unknown["detail"].as_str().unwrap().contains("there are: colour, size"),
            "{unknown}"
        );
    });
}

#[test]
fn an_explanation_is_the_nearest_of_the_history() {
    for kind in Kind::ALL {
        let site = site(vec![snapshot(kind)], patient());
        block_on(async {
            let history = json!(["i5", "i9", "i0", "i11"]);
            let body = json!({"history": history, "explain": 2, "k": 6});
            let (_, answer) = site.post("/v1/recommendations", body).await;
            for item in answer["items"].as_array().unwrap() {
                let because = item["because"].as_array().cloned().unwrap_or_default();
                assert!(because.len() <= 2);
                let path = format!("/v1/items/{}/similar?k=40", item["item"].as_str().unwrap());
                let (_, similar) = site.get(&path).await;
                for reason in &because {
                    assert!(history.as_array().unwrap().contains(&reason["item"]));
                    assert_eq!(reason["title"].is_string(), reason["item"] == "i0");
                    if kind != Kind::Rows {
                        let all = similar["items"].as_array().unwrap();
                        let same =
                            all.iter().find(|other| other["item"] == reason["item"]).unwrap();
                        let (a, b) =
                            (same["score"].as_f64().unwrap(), reason["likeness"].as_f64().unwrap());
                        assert!((a - b).abs() < 1e-6);
                    }
                }
            }
            assert!(answer["items"][0]["because"].is_array(), "{answer}");
        });
    }
}

#[test]
fn a_batch_answers_each_by_itself() {
    let models = vec![named("a", Kind::Factors), named("b", Kind::Rows)];
    let site = site(models, Limits { batch: 30, ..patient() });
    block_on(async {
        let mut requests = Vec::new();
        for user in 0..12 {
            requests.push(json!({"user": format!("u{user}"), "k": 3 + user % 2}));
            requests.push(json!({"user": format!("u{user}"), "model": "b", "history": ["i3"]}));
        }
        requests.push(json!({"user": "u1", "k": 0}));
        requests.push(json!({"user": "u1", "model": "c"}));
        let (status, batch) =
            site.post("/v1/recommendations:batch", json!({ "requests": requests })).await;
        assert_eq!(status, 200);
        let answers = batch["answers"].as_array().unwrap();
        assert_eq!(answers.len(), 26);
        for (request, answer) in requests.iter().zip(answers).take(24) {
            assert_eq!(&site.post("/v1/recommendations", request.clone()).await.1, answer);
        }
        assert_eq!(answers[24]["errors"][0]["field"], "#/requests/24/k");
        assert_eq!(answers[25]["errors"][0]["field"], "#/requests/25/model");
        assert!(answers[25]["detail"].as_str().unwrap().contains("there are: a, b"));
        let (status, told) =
            site.post("/v1/recommendations:batch", json!({"requests": vec![json!({}); 31]})).await;
        assert_eq!((status.as_u16(), &told["errors"][0]["field"]), (422, &json!("#/requests")));
    });
}

#[test]
fn what_is_wrong_is_named() {
    let limits = Limits { body: 4096, ..patient() };
    let site = site(vec![snapshot(Kind::Factors)], limits);
    block_on(async {
        for (method, path, kind, body, status, field) in [
            ("GET", "/v1/users/u1/recommendations?k=0", "", "", 422, "k"),
            ("GET", "/v1/users/u1/recommendations?k=1001", "", "", 422, "k"),
            ("GET", "/v1/users/u1/recommendations?k=-1", "", "", 422, "k"),
            ("GET", "/v1/users/u1/recommendations?k=5&k=6", "", "", 422, "k"),
            ("GET", "/v1/users/u1/recommendations?kk=5", "", "", 422, "kk"),
            ("GET", "/v1/users/u1/recommendations?model=other", "", "", 422, "model"),
            ("GET", "/v1/users/%ff/recommendations", "", "", 422, "id"),
            ("GET", "/v1/items/i1/similar?k=0", "", "", 422, "k"),
            ("GET", "/v1/items/none/similar", "", "", 404, ""),
            ("GET", "/v1/items?k=3", "", "", 422, "search"),
            ("GET", "/v1/nothing", "", "", 404, ""),
            ("PUT", "/v1/recommendations", "", "", 405, ""),
            ("POST", "/v1/recommendations", "text/plain", "{}", 415, ""),
            ("POST", "/v1/recommendations", "application/json", "{", 400, ""),
            ("POST", "/v1/recommendations", "application/json", "{} {}", 400, ""),
            ("POST", "/v1/recommendations", "application/json", "[]", 422, "#"),
            ("POST", "/v1/recommendations", "application/json", r#"{"k": "5"}"#, 422, "#/k"),
            ("POST", "/v1/recommendations", "application/json", r#"{"k": -5}"#, 422, "#/k"),
            ("POST", "/v1/recommendations", "application/json", r#"{"kk": 5}"#, 422, "#/kk"),
            (
                "POST",
                "/v1/recommendations",
                "application/json",
                r#"{"history": ["a", {}]}"#,
                422,
                "#/history/1",
            ),
            (
                "POST",
                "/v1/recommendations",
                "application/json",
                r#"{"explain": 99}"#,
                422,
                "#/explain",
            ),
            (
                "POST",
                "/v1/recommendations:batch",
                "application/json",
                r#"{"requests": [{}, {"k": true}]}"#,
                422,
                "#/requests/1/k",
            ),
            ("POST", "/v1/recommendations:batch", "application/json", "{}", 422, "#"),
            (
                "POST",
                "/v1/recommendations:batch",
                "application/json",
                r#"{"requests": [[]]}"#,
                422,
                "#/requests/0",
            ),
            (
                "POST",
                "/v1/events",
                "application/json",
                r#"{"events": [{"user": "a"}]}"#,
                422,
                "#/events/0",
            ),
            (
                "POST",
                "/v1/events",
                "application/json",
                r#"{"events": [{"user": "a", "item": ""}]}"#,
                422,
                "#/events/0/item",
            ),
            (
                "POST",
                "/v1/events",
                "application/json",
                r#"{"events": [{"user": "a\tb", "item": 1}]}"#,
                422,
                "#/events/0/user",
            ),
            (
                "POST",
                "/v1/events",
                "application/json",
                r#"{"events": [{"user": "a", "item": 1, "weight": 1e99}]}"#,
                422,
                "#/events/0/weight",
            ),
        ] {
            let (found, told) = site.send(method, path, kind, body).await;
            assert_eq!(found.as_u16(), status, "{method} {path} {body}: {told}");
            let named = told["errors"][0]["field"].as_str().unwrap_or_default();
            assert_eq!(named, field, "{method} {path} {body}: {told}");
            assert!(told["type"].as_str().unwrap().starts_with("urn:rankstill:problem:"));
        }
        let long = format!(r#"{{"user": "{}"}}"#, "x".repeat(5000));
        assert_eq!(site.send("POST", "/v1/recommendations", "application/json", long).await.0, 413);
    });
}

#[test]
fn events_are_in_the_very_next_answer() {
    for kind in Kind::ALL {
        let site = site(vec![snapshot(kind)], patient());
        block_on(async {
            // Somebody new.
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
            // Somebody known.
            let path = "/v1/users/u2/recommendations?k=40";
            let (_, before) = site.get(path).await;
            let next = items(&before)[0].clone();
            site.post("/v1/events", json!({"events": [{"user": "u2", "item": next}]})).await;
            let (_, after) = site.get(path).await;
            assert!(!items(&after).contains(&next));
            assert_eq!(items(&after).len() + 1, items(&before).len());
            let basis = if kind == Kind::Rows { "user_and_history" } else { "history" };
            assert_eq!(after["basis"], basis);
            // Forgotten: neither the events nor what the model learnt.
            let (status, gone) = site.send("DELETE", "/v1/users/u2", "", "").await;
            assert_eq!((status.as_u16(), gone), (200, json!({"user": "u2", "events": 1})));
            assert_eq!(site.get(path).await.1["basis"], "popular");
            site.post("/v1/events", json!({"events": [{"user": "u2", "item": "i1"}]})).await;
            assert_eq!(site.get(path).await.1["basis"], "history");
        });
    }
}

#[test]
fn what_the_model_was_trained_on_is_no_news() {
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
fn more_than_can_be_done_is_refused_and_what_is_late_is_not_computed() {
    let gate = Gate::open();
    let slow =
        Snapshot::new("slow", artefact(N_ITEMS), gated(&gate), Default::default(), None).unwrap();
    let limits =
        Limits { queue: 4, deadline: Duration::from_millis(300), degrade: false, ..patient() };
    let site = std::sync::Arc::new(site(vec![slow], limits));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        gate.set(false);
        // Requests of different lengths do not go together: two are being computed, four wait, the others are refused.
        let ask = |k: usize| {
            let site = std::sync::Arc::clone(&site);
            tokio::spawn(async move {
                site.get(&format!("/v1/users/u1/recommendations?k={}", k + 1)).await
            })
        };
        let mut asked = Vec::new();
        for k in 0..2 {
            asked.push(ask(k));
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        for k in 2..10 {
            asked.push(ask(k));
        }
        let mut details = Vec::new();
        for asked in asked {
            let (status, told) = asked.await.unwrap();
            assert_eq!(status.as_u16(), 503);
            details.push(told["detail"].as_str().unwrap().to_owned());
        }
        let refused = details.iter().filter(|told| told.contains("too many")).count();
        let late = details.iter().filter(|told| told.contains("deadline")).count();
        assert_eq!((refused, late), (4, 6), "{details:?}");
        gate.set(true);
        let mut tries = 0;
        while site.get("/v1/users/u1/recommendations").await.0 != 200 {
            tries += 1;
            assert!(tries < 100, "it has not recovered");
        }
    });
}

#[test]
fn a_model_that_panics_fails_its_own_requests_only() {
    let site = site(vec![snapshot(Kind::Panics)], Limits { degrade: false, ..patient() });
    block_on(async {
        let (status, told) = site.post("/v1/recommendations", json!({"history": ["i13"]})).await;
        assert_eq!((status.as_u16(), &told["title"]), (500, &json!("The server failed")));
        let (status, _) = site.post("/v1/recommendations", json!({"history": ["i12"]})).await;
        assert_eq!(status.as_u16(), 200);
    });
}

#[test]
fn the_document_describes_the_routes() {
    let site = administered(patient());
    let text = document(&site);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 16, "{:?}", paths.keys());
    block_on(async {
        // (What Prometheus reads is no JSON.)
        for (path, methods) in paths.iter().filter(|(path, _)| *path != "/metrics") {
            for method in methods.as_object().unwrap().keys() {
                let path = path.replace("{id}", "1");
                let (status, _) =
                    site.send(&method.to_uppercase(), &path, "application/json", "{}").await;
                let absent = ["/items/", "/events", "/v1/users/"]; // no such item; no store
                let exists = status != 405
                    && status != 500
                    && (status != 404 || absent.iter().any(|part| path.contains(part)));
                assert!(exists, "{method} {path}: {status}");
            }
        }
        assert_eq!(site.get("/openapi.json").await.1, document);
    });
    // Every reference leads somewhere.
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

fn document(site: &crate::testing::Site) -> String {
    String::from_utf8(site.app.document.to_vec()).unwrap()
}

#[test]
fn the_document_says_how_much_this_server_takes() {
    let limits = Limits { k: 7, history: 3, batch: 2, filters: 1, ..patient() };
    let limits_of_events = limits.events;
    let site = site(vec![snapshot(Kind::Factors)], limits);
    let document: Value = serde_json::from_str(&document(&site)).unwrap();
    let model = document["paths"]["/v1/items/{id}/similar"]["get"]["parameters"].clone();
    let model = model.as_array().unwrap().iter().find(|one| one["name"] == "model").unwrap();
    let name = model["schema"]["enum"][0].as_str().unwrap();
    let search = &document["paths"]["/v1/items"]["get"]["parameters"];
    let search = search.as_array().unwrap().iter().find(|one| one["name"] == "search").unwrap();
    assert_eq!((&search["required"], &search["schema"]["minLength"]), (&json!(true), &json!(1)));
    let schema = |field: &str| &document["components"]["schemas"]["Request"]["properties"][field];
    assert_eq!(schema("model")["enum"], json!([name, null]));
    assert_eq!((&schema("k")["minimum"], &schema("k")["maximum"]), (&json!(1), &json!(7)));
    let items = |n: usize| vec!["i1"; n];
    block_on(async {
        // Where nothing is said, it is no more than can be.
        let (_, few) = site.post("/v1/recommendations", json!({})).await;
        assert_eq!(few["items"].as_array().unwrap().len(), 7);
        // A request at each bound is answered, one beyond it is not.
        for (field, bound, at, beyond) in [
            ("k", &schema("k")["maximum"], json!(7), json!(8)),
            ("explain", &schema("explain")["maximum"], json!(10), json!(11)),
            ("history", &schema("history")["maxItems"], json!(items(3)), json!(items(4))),
            ("allow", &schema("allow")["maxItems"], json!(items(3)), json!(items(4))),
            ("deny", &schema("deny")["maxItems"], json!(items(3)), json!(items(4))),
        ] {
            let length = at.as_array().map_or(at.clone(), |items| json!(items.len()));
            assert_eq!(*bound, length, "{field}");
            let ask = async |value: Value| {
                let mut request = json!({});
                request[field] = value;
                site.post("/v1/recommendations", request).await.0.as_u16()
            };
            assert_eq!((ask(at).await, ask(beyond).await), (200, 422), "{field}");
        }
        let batch = &document["components"]["schemas"]["BatchRequest"]["properties"]["requests"];
        assert_eq!(batch["maxItems"], 2);
        for (n, status) in [(2, 200), (3, 422)] {
            let requests = json!({"requests": vec![json!({}); n]});
            assert_eq!(site.post("/v1/recommendations:batch", requests).await.0, status, "{n}");
        }
        let events = &document["components"]["schemas"]["EventBatch"]["properties"]["events"];
        assert_eq!(events["maxItems"], limits_of_events);
        let filter = schema("filter");
        assert_eq!(
            (&filter["maxProperties"], &filter["additionalProperties"]["maxItems"]),
            (&json!(1), &json!(3))
        );
        let named = format!("/v1/users/u1/recommendations?model={name}");
        assert_eq!(site.get(&named).await.0, 200);
    });
}

#[test]
fn a_request_keeps_its_number_where_it_may_be_written_back() {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;
    let site = site(vec![snapshot(Kind::Factors)], patient());
    block_on(async {
        let id_of = async |given: Option<&str>| {
            let mut request = Request::builder().uri("/health/live");
            if let Some(given) = given {
                request = request.header("x-request-id", given);
            }
            let request = request.body(Body::empty()).unwrap();
            let response =
                crate::router(std::sync::Arc::clone(&site.app)).oneshot(request).await.unwrap();
            response.headers()["x-request-id"].to_str().unwrap().to_owned()
        };
        assert_eq!(id_of(Some("abc-1")).await, "abc-1");
        assert_ne!(id_of(Some("a b")).await, "a b");
        assert_ne!(id_of(Some(&"x".repeat(129))).await.len(), 129);
        assert_ne!(id_of(None).await, id_of(None).await);
    });
}

#[test]
fn a_model_that_cannot_answer_is_stood_in_for() {
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
        // What has been seen since, and what is not wanted, is not told again.
        let (first, second) = (items(&before)[0].clone(), items(&before)[1].clone());
        site.post("/v1/events", json!({"events": [{"user": "u1", "item": first}]})).await;
        let body = json!({"user": "u1", "deny": [second], "k": 3});
        let (_, filtered) = site.post("/v1/recommendations", body).await;
        assert_eq!(items(&filtered), items(&before)[2..5]);
        let (_, stranger) = site.post("/v1/recommendations", json!({"history": ["i3"]})).await;
        assert_eq!(stranger["degraded"], "popular");
        assert!(!items(&stranger).contains(&"i3".into()));
        gate.set(true);
        let mut tries = 0;
        while !site.get("/v1/users/u2/recommendations").await.1["degraded"].is_null() {
            tries += 1;
            assert!(tries < 100, "it has not recovered");
        }
    });
}

#[test]
fn between_what_was_told_and_what_is_popular_is_what_is_like() {
    // Nothing may wait: every answer comes from the ladder.
    let site = site(vec![snapshot(Kind::Factors)], Limits { queue: 0, ..patient() });
    block_on(async {
        let body = json!({"history": ["i5"], "k": 6});
        let (_, answer) = site.post("/v1/recommendations", body).await;
        assert_eq!(
            (&answer["degraded"], &answer["basis"]),
            (&json!("item_to_item"), &json!("history"))
        );
        let near = snapshot(Kind::Factors).similar(5, 6).unwrap();
        assert_eq!(
            items(&answer),
            near.iter().map(|(item, _)| format!("i{item}")).collect::<Vec<_>>()
        );
        let (_, nobody) = site.post("/v1/recommendations", json!({})).await;
        assert_eq!(nobody["degraded"], "popular");
    });
}

#[test]
fn another_version_takes_over_and_comes_back() {
    let site = administered(patient());
    block_on(async {
        let version = async || site.get("/v1/users/u1/recommendations").await.1["version"].clone();
        let first = version().await;
        let swap = async |artefact: &str| {
            site.post("/admin/models/toy/swap", json!({ "artefact": artefact })).await
        };
        assert_eq!(site.post("/admin/models/toy/rollback", json!({})).await.0.as_u16(), 409);
        for broken in ["broken", "nowhere"] {
            let (status, told) = swap(broken).await;
            assert_eq!((status.as_u16(), &told["errors"][0]["field"]), (422, &json!("#/artefact")));
            assert_eq!(version().await, first, "what failed its checks answers nobody");
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
fn a_challenger_is_compared_in_silence_or_answers_its_share() {
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
            let (status, told) = site.send("PUT", path, "application/json", body).await;
            assert_eq!(status.as_u16(), 200, "{told}");
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
        begin("rows", "canary", 1.0).await;
        let (_, other) = site.get("/v1/users/u1/recommendations").await;
        assert_ne!(other["items"], alone["items"]);
        let differs = settled(1).await;
        assert!(differs["report"]["rbo"].as_f64().unwrap() < 1.0);
        begin("rows", "canary", 0.0).await;
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
fn the_guard_rolls_a_bad_challenger_back() {
    let site = administered(patient());
    block_on(async {
        let (_, alone) = site.get("/v1/users/u1/recommendations?k=3").await;
        let guard = json!({"after": 2, "min_overlap": 0.99, "max_latency_ratio": 1e9});
        let body =
            json!({"artefact": "rows", "trial": {"mode": "canary", "share": 1.0, "guard": guard}});
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
fn nobody_comes_in_without_a_key() {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;
    let site = administered(patient());
    block_on(async {
        let status = async |path: &str, key: &str| {
            let method = if path.starts_with("/admin") { "POST" } else { "GET" };
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("authorization", format!("Bearer {key}"));
            let request = request.body(Body::empty()).unwrap();
            let router = crate::router(std::sync::Arc::clone(&site.app));
            router.oneshot(request).await.unwrap().status().as_u16()
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

#[test]
fn what_happens_is_counted() {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;
    let site = site(vec![snapshot(Kind::Factors)], patient());
    block_on(async {
        for _ in 0..3 {
            site.get("/v1/users/u1/recommendations").await;
        }
        site.get("/v1/nothing").await;
        site.post("/v1/events", json!({"events": [{"user": "u1", "item": "i1"}]})).await;
        let request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
        let response =
            crate::router(std::sync::Arc::clone(&site.app)).oneshot(request).await.unwrap();
        let page = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
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
fn the_page_needs_nobody_else() {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;
    let site = administered(patient());
    block_on(async {
        let (_, found) = site.get("/v1/items?search=nOUg").await;
        assert_eq!(found, json!({"items": [{"item": "i0", "title": "Nought"}]}));
        let mut names = vec!["/".to_owned()];
        while let Some(path) = names.pop() {
            let request = Request::builder().uri(&path).body(Body::empty()).unwrap();
            let router = crate::router(std::sync::Arc::clone(&site.app));
            let response = router.oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), 200, "{path}: the page itself needs no key");
            let policy = response.headers()["content-security-policy"].to_str().unwrap();
            assert!(
                policy.contains("default-src 'none'")
                    && !policy.contains("-inline")
                    && !policy.contains("-eval"),
                "{policy}"
            );
            let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let text = String::from_utf8(text.to_vec()).unwrap();
            let outside = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("http:") && !outside.contains("https:"), "{path}");
            assert!(!text.contains("innerHTML") && !text.contains("style="), "{path}");
            for part in ["href=\"/page", "src=\"/page"] {
                names.extend(
                    text.split(part)
                        .skip(1)
                        .map(|rest| format!("/page{}", rest.split('"').next().unwrap())),
                );
            }
        }
    });
}

#[test]
fn a_busy_server_refuses_and_says_that_it_lives() {
    let site = site(vec![snapshot(Kind::Factors)], Limits { in_progress: 0, ..patient() });
    block_on(async {
        let (status, told) = site.get("/v1/users/u1/recommendations").await;
        assert_eq!((status.as_u16(), &told["title"]), (503, &json!("The server is overloaded")));
        assert_eq!(site.get("/health/live").await.0.as_u16(), 200);
        assert_eq!(site.get("/health/ready").await.0.as_u16(), 200);
    });
}

#[test]
fn an_administrator_reads_the_events_of_a_running_server() {
    block_on(async {
        let site = crate::testing::administered_with_store();
        let event =
            |user: &str, item: &str, time| json!({ "user": user, "item": item, "time": time });
        let events = [event("u1", "i2", 5), event("a \"b\"", "i3", 4), event("u1", "new", 9)];
        let (status, _) = site.post("/v1/events", json!({ "events": events })).await;
        assert_eq!(status, 200);
        let read = async |path: &str, key: &str| {
            let request = axum::http::Request::builder().uri(path);
            let request = request.header("authorization", format!("Bearer {key}"));
            let request = request.body(axum::body::Body::empty()).unwrap();
            let router = crate::http::router(std::sync::Arc::clone(&site.app));
            let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
            let last = response.headers().get("rankstill-last").cloned();
            let last = last.map(|last| last.to_str().unwrap().to_owned()).unwrap_or_default();
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (status, last, String::from_utf8(body.to_vec()).unwrap())
        };
        let head = "user_id\titem_id\ttimestamp\tweight\n";
        let first = format!("{head}u1\ti2\t5\t1\n\"a \"\"b\"\"\"\ti3\t4\t1\n");
        assert_eq!(read("/admin/events?limit=2", "admin").await, (200, "2".into(), first));
        let rest = format!("{head}u1\tnew\t9\t1\n");
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
fn the_document_says_what_a_problem_looks_like() {
    let text = document(&site(vec![snapshot(Kind::Factors)], patient()));
    let document: Value = serde_json::from_str(&text).unwrap();
    let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
    let mut problems = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            let has = |status: &str| responses.contains_key(status);
            let keyed = operation.get("security").is_some();
            assert!(!keyed || has("401"), "{path}");
            assert!(!path.starts_with("/admin") || has("404"), "without administrators: {path}");
            assert!(operation.get("requestBody").is_none() || has("413"), "{path}");
            for (status, response) in responses {
                let told = &response["content"]["application/problem+json"];
                let is_problem = status.as_str() >= "400";
                assert_eq!(
                    told,
                    if is_problem { &problem } else { &Value::Null },
                    "{method} {path} {status}"
                );
                problems += usize::from(is_problem);
            }
        }
    }
    assert!(problems > 50, "{problems}");
}

#[test]
fn the_document_says_which_routes_ask_for_a_key() {
    let text = document(&site(vec![snapshot(Kind::Factors)], patient()));
    let document: Value = serde_json::from_str(&text).unwrap();
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(
        (&schemes["key"]["scheme"], &schemes["admin"]["type"]),
        (&json!("bearer"), &json!("http"))
    );
    for (path, operations) in document["paths"].as_object().unwrap() {
        let expected = match path.split('/').nth(1).unwrap() {
            "v1" | "metrics" => json!([{ "key": [] }, {}]),
            "admin" => json!([{ "admin": [] }]),
            _ => Value::Null,
        };
        for (method, operation) in operations.as_object().unwrap() {
            assert_eq!(operation["security"], expected, "{method} {path}");
        }
    }
}
