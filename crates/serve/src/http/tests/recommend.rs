use super::items;
use crate::Limits;
use crate::testing::{Kind, N_ITEMS, block_on, named, patient, site, snapshot};
use serde_json::{Value, json};

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
fn unknown_users_get_popular_items_unless_they_have_a_history() {
    let site = site(vec![snapshot(Kind::Factors)], patient());
    block_on(async {
        let (_, unknown) = site.get("/v1/users/new%20one/recommendations").await;
        assert_eq!((&unknown["basis"], items(&unknown).len()), (&json!("popular"), 10));
        let popular = snapshot(Kind::Factors).most_popular(10, &[], None);
        assert_eq!(
            items(&unknown),
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
        // A known user with new events: this model is queried as for an unknown user with the whole history.
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
fn lists_and_filters_restrict_what_is_recommended() {
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
            unknown["detail"].as_str().unwrap().contains("expected one of: colour, size"),
            "{unknown}"
        );
    });
}

#[test]
fn an_explanation_is_the_most_similar_history_item() {
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
                    if kind != Kind::Unfactored {
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
fn a_batch_answers_each_request_on_its_own() {
    let models = vec![named("a", Kind::Factors), named("b", Kind::Unfactored)];
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
        assert!(answers[25]["detail"].as_str().unwrap().contains("expected one of: a, b"));
        let (status, problem) =
            site.post("/v1/recommendations:batch", json!({"requests": vec![json!({}); 31]})).await;
        assert_eq!((status.as_u16(), &problem["errors"][0]["field"]), (422, &json!("#/requests")));
    });
}

#[test]
fn the_invalid_field_is_named() {
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
            let (found, problem) = site.send(method, path, kind, body).await;
            assert_eq!(found.as_u16(), status, "{method} {path} {body}: {problem}");
            let named = problem["errors"][0]["field"].as_str().unwrap_or_default();
            assert_eq!(named, field, "{method} {path} {body}: {problem}");
            assert!(problem["type"].as_str().unwrap().starts_with("urn:rankstill:problem:"));
        }
        let long = format!(r#"{{"user": "{}"}}"#, "x".repeat(5000));
        assert_eq!(site.send("POST", "/v1/recommendations", "application/json", long).await.0, 413);
    });
}
