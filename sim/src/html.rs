//! The HTML page of a run: a sequence diagram, a slider over the steps, and the slot table at each
//! step. One file, no network.

use crate::story::Line;

const PAGE: &str = include_str!("page.html");

/// Renders the page. `title` and `verdict` stand at the top.
#[must_use]
pub fn page(title: &str, verdict: &str, plan: &str, lines: &[&Line]) -> String {
    let data = serde_json::json!({
        "title": title,
        "verdict": verdict,
        "plan": plan,
        "lines": lines,
    });
    // `</script>` in a text would end the script.
    let json = data.to_string().replace('<', "\\u003c");
    PAGE.replace("/*DATA*/null", &json)
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn texts_cannot_break_out_of_the_page() {
        let page = page("</script><b>", "", "", &[]);
        assert!(!page.contains("</script><b>"));
        assert!(page.contains("\\u003c/script>\\u003cb>"));
    }
}
