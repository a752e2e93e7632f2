//! PATCH (RFC 7644 §3.5.2), written here once more so that the client's own applier is not its own judge.

use scim_client::path::Path;

use super::*;

impl Fake {
    pub(super) fn patched(&self, record: &Record, body: &Value) -> Result<Map<String, Value>, Refusal> {
        let manners = &*self.manners;
        let schema = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
        if !body["schemas"].as_array().is_some_and(|schemas| schemas.iter().any(|one| one == schema)) {
            return Err(Refusal::bad("invalidSyntax", "this is no PatchOp"));
        }
        let operations = body["Operations"].as_array().filter(|operations| !operations.is_empty());
        let operations =
            operations.ok_or_else(|| Refusal::bad("invalidSyntax", "there are no operations"))?;
        let touched: usize = operations.iter().map(members_in).sum();
        if manners.members_per_patch_max.is_some_and(|most| touched > most) {
            return Err(Refusal::bad("invalidValue", "too many members in one request"));
        }
        let mut attributes = record.attributes.clone();
        for operation in operations {
            self.apply(&mut attributes, operation)?;
        }
        Ok(attributes)
    }

    fn apply(&self, attributes: &mut Map<String, Value>, operation: &Value) -> Result<(), Refusal> {
        let verb = operation["op"].as_str().unwrap_or_default();
        let verb = if self.manners.verbs_in_any_case { verb.to_lowercase() } else { verb.to_owned() };
        let value = operation.get("value");
        let path = operation.get("path").and_then(Value::as_str);
        match (verb.as_str(), path, value) {
            ("add" | "replace", None, Some(Value::Object(parts))) => {
                parts.iter().try_for_each(|(name, value)| self.set(attributes, &verb, name, value))
            }
            ("add" | "replace", None, _) => {
                Err(Refusal::bad("invalidValue", "without a path, the value is an object"))
            }
            ("add" | "replace", Some(path), Some(value)) => self.set(attributes, &verb, path, value),
            ("remove", None, _) => Err(Refusal::bad("noTarget", "a removal needs a path")),
            ("remove", Some(path), value) => self.remove(attributes, path, value),
            _ => Err(Refusal::bad("invalidSyntax", "this is no operation")),
        }
    }

    fn set(
        &self,
        attributes: &mut Map<String, Value>,
        verb: &str,
        path: &str,
        value: &Value,
    ) -> Result<(), Refusal> {
        let path = read(path)?;
        let is_members = path.attribute.name.eq_ignore_ascii_case("members");
        if is_members && verb == "replace" && path.element.is_none() && !self.manners.replaces_members {
            return Err(Refusal::bad("invalidValue", "members cannot be replaced"));
        }
        if let Some(filter) = &path.element {
            if !self.manners.changes_elements_by_filter {
                return Err(Refusal::bad("invalidPath", "no filters here"));
            }
            let elements = elements(attributes, &path);
            let mut hits = 0;
            for element in
                elements.iter_mut().filter(|element| filter.matches_element(&path.attribute, element))
            {
                hits += 1;
                match (path.sub_attribute(), element) {
                    (Some(sub), Value::Object(element)) => {
                        element.insert(sub.to_owned(), value.clone());
                    }
                    (None, Value::Object(element)) => {
                        element.extend(value.as_object().cloned().unwrap_or_default())
                    }
                    _ => {}
                }
            }
            return if hits == 0 {
                Err(Refusal::bad("noTarget", "no element is as the filter says"))
            } else {
                Ok(())
            };
        }
        let place = target(attributes, &path);
        match (place, verb, value) {
            (Value::Array(elements), "add", value) => {
                for one in value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]) {
                    let known = elements.iter().any(|element| same(element, &one));
                    match (known, self.manners.adds_members_twice) {
                        (false, _) => elements.push(one),
                        (true, AddedTwice::IsNothing) => {}
                        (true, AddedTwice::Conflicts) => {
                            return Err(Refusal::new(409, None, "already a member"));
                        }
                    }
                }
            }
            (place @ Value::Null, "add", value @ Value::Object(_)) if is_members => *place = json!([value]),
            (Value::Object(place), _, Value::Object(value)) => place.extend(value.clone()),
            (place, _, value) => *place = value.clone(),
        }
        Ok(())
    }

    fn remove(
        &self,
        attributes: &mut Map<String, Value>,
        path: &str,
        value: Option<&Value>,
    ) -> Result<(), Refusal> {
        let path = read(path)?;
        if let Some(filter) = &path.element {
            if !self.manners.removal_by_filter {
                return Err(Refusal::bad("invalidPath", "no filters here"));
            }
            let of = path.attribute.clone();
            let elements = elements(attributes, &path);
            match path.sub_attribute() {
                None => elements.retain(|element| !filter.matches_element(&of, element)),
                Some(sub) => {
                    for element in elements.iter_mut().filter(|element| filter.matches_element(&of, element))
                    {
                        element.as_object_mut().and_then(|element| element.remove(sub));
                    }
                }
            }
            return Ok(());
        }
        let place = target(attributes, &path);
        match (place, value, self.manners.removal_with_value) {
            (Value::Array(elements), Some(value), RemovalWithValue::RemovesNamed) => {
                let named = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                elements.retain(|element| !named.iter().any(|one| same(element, one)));
            }
            (place, ..) => *place = Value::Null,
        }
        Ok(())
    }
}

fn read(path: &str) -> Result<Path, Refusal> {
    let path: Path = path.parse().map_err(|_| Refusal::bad("invalidPath", format!("`{path}` is no path")))?;
    if service::is_read_only(&path.attribute.name) {
        return Err(Refusal::bad("mutability", format!("`{path}` is the server's")));
    }
    Ok(path)
}

/// How many members an operation touches.
fn members_in(operation: &Value) -> usize {
    let of = |value: &Value| value.as_array().map_or(1, Vec::len);
    match operation["path"].as_str() {
        Some(path) if path.to_lowercase().starts_with("members") => operation.get("value").map_or(1, of),
        _ => operation["value"].get("members").map_or(0, of),
    }
}

/// The place of an attribute or its part, made where it is not there.
fn target<'a>(attributes: &'a mut Map<String, Value>, path: &Path) -> &'a mut Value {
    let mut at = attributes;
    if let Some(schema) =
        path.attribute.schema.as_deref().filter(|schema| *schema != USER && *schema != GROUP)
    {
        let extension = at.entry(schema).or_insert_with(|| json!({}));
        if !extension.is_object() {
            *extension = json!({});
        }
        at = extension.as_object_mut().unwrap();
    }
    let name = key_of(at, &path.attribute.name);
    let place = at.entry(name).or_insert(Value::Null);
    match path.sub_attribute() {
        None => place,
        Some(sub) => {
            if !place.is_object() {
                *place = json!({});
            }
            let place = place.as_object_mut().unwrap();
            let sub = key_of(place, sub);
            place.entry(sub).or_insert(Value::Null)
        }
    }
}

fn elements<'a>(attributes: &'a mut Map<String, Value>, path: &Path) -> &'a mut Vec<Value> {
    let name = key_of(attributes, &path.attribute.name);
    let place = attributes.entry(name).or_insert_with(|| json!([]));
    if !place.is_array() {
        *place = json!([]);
    }
    place.as_array_mut().unwrap()
}

fn same(left: &Value, right: &Value) -> bool {
    match (left.get("value"), right.get("value")) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}
