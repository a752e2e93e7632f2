//! `/Bulk` (RFC 7644 §3.7).

use super::service::Asked;
use super::*;

const OPERATIONS_MAX: usize = 100;

impl Fake {
    pub(super) fn bulk(&self, asked: &Asked<'_>) -> Outcome {
        if !self.manners.bulk {
            return Err(Refusal::new(501, None, "there is no such endpoint"));
        }
        let body = asked.json()?;
        let operations = body["Operations"].as_array().cloned().unwrap_or_default();
        if operations.len() > OPERATIONS_MAX {
            return Err(Refusal::new(413, None, "too many operations"));
        }
        let fail_on = body["failOnErrors"].as_u64();
        let (mut done, mut failed) = (Vec::new(), 0);
        let mut ids: Vec<(String, String)> = Vec::new();
        for operation in &operations {
            if fail_on.is_some_and(|most| failed >= most) {
                break;
            }
            let result = self.one(operation, &ids);
            let mut entry = json!({ "method": operation["method"] });
            if let Some(bulk_id) = operation.get("bulkId") {
                entry["bulkId"] = bulk_id.clone();
            }
            match result {
                Ok((status, record)) => {
                    entry["status"] = status.to_string().into();
                    if let Some(record) = record {
                        let location = self.resource(&record)["meta"]["location"].clone();
                        entry["location"] = location;
                        if let Some(bulk_id) = operation["bulkId"].as_str() {
                            ids.push((bulk_id.to_owned(), record.id));
                        }
                    }
                }
                Err(refusal) => {
                    failed += 1;
                    entry["status"] = refusal.status.to_string().into();
                    entry["response"] = refusal.body(&self.manners);
                }
            }
            done.push(entry);
        }
        let schemas = ["urn:ietf:params:scim:api:messages:2.0:BulkResponse"];
        Ok(Scripted::json(200, &json!({ "schemas": schemas, "Operations": done })))
    }

    fn one(&self, operation: &Value, ids: &[(String, String)]) -> Result<(u16, Option<Record>), Refusal> {
        let mut text = operation.to_string();
        for (bulk_id, id) in ids {
            text = text.replace(&format!("bulkId:{bulk_id}"), id);
        }
        let operation: Value = serde_json::from_str(&text).unwrap();
        if operation["data"].to_string().contains("bulkId:") {
            return Err(Refusal::bad("invalidValue", "a reference to what is not there yet"));
        }
        let path = operation["path"].as_str().unwrap_or_default().trim_matches('/');
        let (endpoint, id) = path.split_once('/').unwrap_or((path, ""));
        let kind = Kind::ALL.into_iter().find(|kind| kind.endpoint() == endpoint);
        let kind = kind.ok_or_else(|| Refusal::bad("invalidPath", "there is no such endpoint"))?;
        let data = operation["data"].clone();
        match operation["method"].as_str().unwrap_or_default() {
            "POST" if operation.get("bulkId").is_none() => {
                Err(Refusal::bad("invalidSyntax", "a POST needs a bulkId"))
            }
            "POST" => self.create(kind, data).map(|record| (201, Some(record))),
            "PUT" => self.replace(kind, id, data).map(|record| (200, Some(record))),
            "PATCH" => self.patch(kind, id, &data).map(|record| (200, record)),
            "DELETE" => self.delete(kind, id).map(|()| (204, None)),
            _ => Err(Refusal::bad("invalidSyntax", "no such method")),
        }
    }
}
