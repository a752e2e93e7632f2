//! Lists: filters, order, pages, and which attributes are shown.

use scim_client::filter::{CompareOp, Filter};

use super::service::Asked;
use super::*;

impl Fake {
    pub(super) fn search(&self, kind: Kind, asked: &Asked<'_>) -> Outcome {
        if !self.manners.search {
            return Err(Refusal::new(501, None, "there is no such endpoint"));
        }
        let Value::Object(body) = asked.json()? else {
            return Err(Refusal::bad("invalidSyntax", "not an object"));
        };
        let as_text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        let query: Vec<(String, String)> =
            body.iter().map(|(name, value)| (name.clone(), as_text(value))).collect();
        self.list(kind, &query)
    }

    pub(super) fn list(&self, kind: Kind, query: &[(String, String)]) -> Outcome {
        let manners = &*self.manners;
        let value =
            |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let records = self.lock().records.clone();
        let mut found: Vec<Map<String, Value>> = records
            .iter()
            .filter(|record| record.kind == kind)
            .filter(|record| {
                !manners.hides_inactive || record.attributes.get("active") != Some(&false.into())
            })
            .map(|record| self.resource(record))
            .collect();
        if let Some(text) = value("filter") {
            let filter: Filter = text.parse().map_err(|_| Refusal::bad("invalidFilter", "not a filter"))?;
            let can = match manners.filters {
                Filters::Full | Filters::Ignored => true,
                Filters::EqualAnd => is_equal_and(&filter),
                Filters::Equal => is_equal(&filter).is_some(),
                Filters::EqualOfName => is_equal(&filter)
                    .is_some_and(|name| ["username", "displayname"].contains(&name.to_lowercase().as_str())),
            };
            if !can {
                return Err(Refusal::bad("invalidFilter", "this filter is not supported"));
            }
            let exact = !manners.finds_names_in_any_case;
            if manners.filters != Filters::Ignored {
                found.retain(|resource| {
                    filter.matches(resource) && (!exact || text.contains(name_of(resource)))
                });
            }
        }
        if value("filter").is_none() && !manners.lists_without_filter {
            return Err(Refusal::bad("tooMany", "a filter is required"));
        }
        if let Some(by) = value("sortBy")
            && manners.sort
        {
            found.sort_by_key(|resource| {
                resource.get(by).map(Value::to_string).unwrap_or_default().to_lowercase()
            });
            if value("sortOrder") == Some("descending") {
                found.reverse();
            }
        }
        if found.is_empty() && manners.empty_list == EmptyList::NotFound && value("filter").is_some() {
            return Err(Refusal::new(404, None, "nothing matches"));
        }
        let total = found.len();
        let mut envelope = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"] });
        let total_shown: Value = if manners.total_as_text { total.to_string().into() } else { total.into() };
        envelope["totalResults"] = total_shown;
        let count = value("count")
            .map(|count| count.parse::<i64>().map_err(|_| Refusal::bad("invalidValue", "count")));
        let count =
            count.transpose()?.map_or(manners.page_max.min(100), |count| usize::try_from(count).unwrap_or(0));
        let count = count.min(manners.page_max);
        let page: Vec<_> = match (manners.pages, value("cursor")) {
            (Pages::None, _) => found.into_iter().take(manners.page_max).collect(),
            (Pages::IndexAndCursor, Some(cursor)) => {
                let place = match cursor {
                    "" => 0,
                    cursor => cursor
                        .strip_prefix("after-")
                        .and_then(|place| place.parse().ok())
                        .ok_or_else(|| Refusal::bad("invalidCursor", "this is no cursor of ours"))?,
                };
                if place + count < total {
                    envelope["nextCursor"] = format!("after-{}", place + count).into();
                }
                found.into_iter().skip(place).take(count).collect()
            }
            _ => {
                let start =
                    value("startIndex").and_then(|start| start.parse::<i64>().ok()).unwrap_or(1).max(1);
                envelope["startIndex"] = start.into();
                found.into_iter().skip(usize::try_from(start).unwrap() - 1).take(count).collect()
            }
        };
        envelope["itemsPerPage"] = page.len().into();
        let page: Vec<Value> = page.into_iter().map(|resource| chosen(resource, query).into()).collect();
        match (manners.empty_list, page.is_empty()) {
            (EmptyList::Null, true) => envelope["Resources"] = Value::Null,
            _ => envelope["Resources"] = page.into(),
        }
        Ok(Scripted::json(200, &envelope))
    }
}

fn name_of(resource: &Map<String, Value>) -> &str {
    resource
        .get("userName")
        .or_else(|| resource.get("displayName"))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn is_equal_and(filter: &Filter) -> bool {
    match filter {
        Filter::And(parts) => parts.iter().all(is_equal_and),
        other => is_equal(other).is_some(),
    }
}

/// The attribute that has to equal something, where the filter says no more.
fn is_equal(filter: &Filter) -> Option<&str> {
    match filter {
        Filter::Compare(path, CompareOp::Equal, _) => Some(&path.name),
        _ => None,
    }
}

/// The resource with the attributes that were asked for (RFC 7644 §3.9).
pub(super) fn chosen(mut resource: Map<String, Value>, query: &[(String, String)]) -> Map<String, Value> {
    let names = |name: &str| -> Option<Vec<String>> {
        let (_, value) = query.iter().find(|(known, _)| known == name)?;
        Some(value.split(',').map(|name| name.trim().to_lowercase()).collect())
    };
    let of = |names: &[String], name: &str| {
        let name = name.to_lowercase();
        names.iter().any(|wanted| *wanted == name || wanted.split('.').next() == Some(&name))
    };
    if let Some(wanted) = names("attributes") {
        resource.retain(|name, _| name == "id" || name == "schemas" || of(&wanted, name));
    } else if let Some(unwanted) = names("excludedAttributes") {
        resource
            .retain(|name, _| name == "id" || name == "schemas" || !unwanted.contains(&name.to_lowercase()));
    }
    resource
}
