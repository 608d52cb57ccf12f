//! Data forms (XEP-0004) and result sets (XEP-0059), as requests carry them.

use super::{Element, ns};

/// Fields of a form, and values of a field, that are looked at.
const FIELDS: usize = 256;

/// A form that was filled in, or one to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    fields: Vec<(String, Vec<String>)>,
}

impl Form {
    /// Reads the form in `parent` whose `FORM_TYPE` is `kind`; `None` if there is none.
    pub fn find(parent: &Element, kind: &str) -> Option<Form> {
        let mut forms = parent.children().filter(|x| x.is("x", ns::DATA_FORMS));
        forms.find_map(|x| Form::parse(x).filter(|form| form.get("FORM_TYPE") == Some(kind)))
    }

    /// Reads `<x/>`; `None` where it is no form that was filled in.
    pub fn parse(x: &Element) -> Option<Form> {
        if !x.is("x", ns::DATA_FORMS) || !matches!(x.get_attr("type"), Some("submit" | "result")) {
            return None;
        }
        let fields = x
            .children()
            .filter(|field| field.is("field", ns::DATA_FORMS));
        let fields = fields.take(FIELDS).filter_map(|field| {
            let values = field.children().filter(|value| value.name() == "value");
            let values = values.take(FIELDS).map(Element::text_content).collect();
            Some((field.get_attr("var")?.to_owned(), values))
        });
        Some(Form {
            fields: fields.collect(),
        })
    }

    /// A field's first value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name)?.first().map(String::as_str)
    }

    /// A field's values.
    pub fn all(&self, name: &str) -> Option<&[String]> {
        let mut fields = self.fields.iter();
        fields
            .find(|(var, _)| var == name)
            .map(|(_, values)| values.as_slice())
    }

    /// A field that is yes or no.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)?.trim() {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        }
    }

    /// The fields but `FORM_TYPE`.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[String])> {
        let fields = self.fields.iter().filter(|(var, _)| var != "FORM_TYPE");
        fields.map(|(var, values)| (var.as_str(), values.as_slice()))
    }
}

/// A field of a form that the server writes.
pub fn field<'a>(
    var: &str,
    kind: &'static str,
    values: impl IntoIterator<Item = &'a str>,
) -> Element {
    let values = values
        .into_iter()
        .map(|value| Element::new("value", ns::DATA_FORMS).text(value));
    Element::new("field", ns::DATA_FORMS)
        .attr("var", var)
        .attr_opt("type", (!kind.is_empty()).then_some(kind))
        .children_from(values)
}

/// A form of `kind`: to be filled in (`form`) or a `result`.
pub fn form(
    type_value: &'static str,
    kind: &str,
    fields: impl IntoIterator<Item = Element>,
) -> Element {
    Element::new("x", ns::DATA_FORMS)
        .attr("type", type_value)
        .child(field("FORM_TYPE", "hidden", [kind]))
        .children_from(fields)
}

/// Which page of a result a client asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// How many items at most.
    pub max: Option<u32>,
    /// Those behind this one.
    pub after: Option<String>,
    /// Those before this one; empty: the last page.
    pub before: Option<String>,
}

impl Page {
    /// Reads `<set/>` in `parent`; the first page if there is none.
    ///
    /// # Errors
    /// When `max` is no number.
    pub fn find(parent: &Element) -> Result<Page, super::Condition> {
        let Some(set) = parent.get_child("set", ns::RSM) else {
            return Ok(Page::default());
        };
        let text = |name| set.get_child(name, ns::RSM).map(Element::text_content);
        let max = text("max").map(|max| max.trim().parse()).transpose();
        Ok(Page {
            max: max.map_err(|_| super::Condition::BadRequest)?,
            after: text("after"),
            before: text("before"),
        })
    }

    /// What is said of a page that was given: its first and last item.
    pub fn said(first: Option<&str>, last: Option<&str>, count: Option<u64>) -> Element {
        let ends = [("first", first), ("last", last)];
        let ends = ends
            .into_iter()
            .filter_map(|(name, id)| id.map(|id| Element::new(name, ns::RSM).text(id)));
        let count = count.map(|count| Element::new("count", ns::RSM).text(count.to_string()));
        Element::new("set", ns::RSM)
            .children_from(ends)
            .children_from(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::Scope;

    #[test]
    fn a_form_is_found_by_its_type() {
        let text = "<q xmlns='u'><x xmlns='jabber:x:data' type='submit'>\
                    <field var='FORM_TYPE'><value>other</value></field></x>\
                    <x xmlns='jabber:x:data' type='submit'>\
                    <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>\
                    <field var='ids'><value>a</value><value>b</value></field>\
                    <field var='yes'><value>1</value></field><field/></x>\
                    <set xmlns='http://jabber.org/protocol/rsm'><max>5</max><before/></set></q>";
        let element = Element::parse(text.as_bytes(), &Scope::empty()).unwrap();
        let form = Form::find(&element, "urn:xmpp:mam:2").unwrap();
        assert_eq!(form.all("ids").unwrap(), ["a", "b"]);
        assert_eq!(form.flag("yes"), Some(true));
        assert_eq!(form.fields().count(), 2);
        assert_eq!(Form::find(&element, "u"), None);
        let page = Page::find(&element).unwrap();
        assert_eq!(
            (page.max, page.before.as_deref(), page.after),
            (Some(5), Some(""), None)
        );
    }
}
