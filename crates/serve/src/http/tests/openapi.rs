use crate::Limits;
use crate::testing::{Kind, administered, block_on, patient, site, snapshot};
use serde_json::{Value, json};

#[test]
fn the_document_describes_the_routes() {
    let site = administered(patient());
    let document = document(&site);
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 16, "{:?}", paths.keys());
    block_on(async {
        // (The metrics are not JSON.)
        for (path, methods) in paths.iter().filter(|(path, _)| *path != "/metrics") {
            for method in methods.as_object().unwrap().keys() {
                let path = path.replace("{id}", "1");
                let (status, _) =
                    site.send(&method.to_uppercase(), &path, "application/json", "{}").await;
                let absent = ["/items/", "/events", "/v1/users/"]; // no such item, no event store
                let exists = status != 405
                    && status != 500
                    && (status != 404 || absent.iter().any(|part| path.contains(part)));
                assert!(exists, "{method} {path}: {status}");
            }
        }
    });
    // Every reference can be resolved.
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for part in document.to_string().split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[test]
fn the_document_contains_the_limits_of_this_server() {
    let limits = Limits { k: 7, history: 3, batch: 2, filters: 1, ..patient() };
    let limits_of_events = limits.events;
    let site = site(vec![snapshot(Kind::Factors)], limits);
    let document = document(&site);
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
        // The default is not above the limit.
        let (_, few) = site.post("/v1/recommendations", json!({})).await;
        assert_eq!(few["items"].as_array().unwrap().len(), 7);
        // A request at each limit is answered, one above it is not.
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
fn the_document_describes_all_problems() {
    let document = document(&site(vec![snapshot(Kind::Factors)], patient()));
    let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
    let mut problems = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            let has = |status: &str| responses.contains_key(status);
            let keyed = operation.get("security").is_some();
            assert!(!keyed || has("401"), "{path}");
            assert!(
                !path.starts_with("/admin") || has("404"),
                "without administrator keys: {path}"
            );
            assert!(operation.get("requestBody").is_none() || has("413"), "{path}");
            for (status, response) in responses {
                let content = &response["content"]["application/problem+json"];
                let is_problem = status.as_str() >= "400";
                assert_eq!(
                    content,
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
fn the_document_says_which_routes_need_a_key() {
    let document = document(&site(vec![snapshot(Kind::Factors)], patient()));
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

fn document(site: &crate::testing::Site) -> Value {
    let (status, document) = block_on(site.get("/openapi.json"));
    assert_eq!(status, 200);
    document
}
