//! `JUnit` is what builds read: each row is a test case, which fails where something broke, and is skipped where nobody knows.

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::{Report, shell, text};
use crate::campaign::{row::Row, verdict::Verdict};

/// The document.
pub fn render(report: &Report) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new(format!("amplify {}", report.campaign.target));
    for row in &report.rows {
        suite.add_test_case(case(report, row));
    }
    let mut document = Document::new("murphy amplify");
    document.add_test_suite(suite);
    document.to_string()
}

fn case(report: &Report, row: &Row) -> TestCase {
    let is_open = row.verdict == Verdict::Inconclusive || row.is_flaky();
    let mut status = if is_open {
        TestCaseStatus::skipped()
    } else if row.verdict.is_bad() {
        TestCaseStatus::non_success(NonSuccessKind::Failure)
    } else {
        TestCaseStatus::success()
    };
    if is_open || row.verdict.is_bad() {
        status.set_message(text::brief(row));
        status.set_type(row.verdict.to_string());
        status.set_description(format!("{}\n{}", row.why, shell(&report.again(row))));
    }
    let mut case = TestCase::new(row.experiment.clone(), status);
    case.set_classname("murphy.amplify");
    case
}
