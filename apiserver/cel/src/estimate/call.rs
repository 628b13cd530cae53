//! The static cost of one call.

use super::{CostEstimate, Coster, EntrySize, Operand, SizeEstimate, step};
use crate::{
    ast::{Expr, Kind, Literal},
    price::{self, LIST, REGEX, TRAVERSAL},
    types::Type,
};

/// The longest pattern behind a named format (`MaxNameFormatRegexSize`).
const FORMAT_REGEX: f64 = 128.0;

pub(super) struct CallEstimate {
    pub cost: CostEstimate,
    pub size: Option<SizeEstimate>,
}

fn only(cost: CostEstimate) -> CallEstimate {
    CallEstimate { cost, size: None }
}

fn sized(cost: CostEstimate, size: SizeEstimate) -> CallEstimate {
    CallEstimate { cost, size: Some(size) }
}

/// A non-negative integer literal.
fn int_literal(operand: &Operand<'_>) -> Option<u64> {
    match operand.expr.map(|expr| &expr.kind) {
        Some(Kind::Literal(Literal::Int(value))) => u64::try_from(*value).ok(),
        _ => None,
    }
}

fn allocating(factor: f64, size: SizeEstimate) -> CallEstimate {
    sized(size.cost(factor).plus(CostEstimate::fixed(1 + LIST)), size)
}

impl Coster<'_> {
    pub(super) fn function(
        &mut self,
        expr: &Expr,
        function: &str,
        overload: &str,
        target: Option<&Operand<'_>>,
        args: &[Operand<'_>],
        costs: &[CostEstimate],
    ) -> CallEstimate {
        let of_args = costs.iter().fold(CostEstimate::default(), |sum, cost| sum.plus(*cost));
        if let Some(mut known) =
            self.lists(overload, target, args).or_else(|| self.library(function, overload, target, args))
        {
            known.cost = known.cost.plus(of_args);
            return known;
        }
        let mut standard = self.standard(expr, overload, target, args, costs);
        // Short-circuiting operators count their operands themselves.
        if !matches!(overload, "logical_or" | "logical_and" | "conditional") {
            standard.cost = standard.cost.plus(of_args);
        }
        standard
    }

    /// The size of an operand as the expression or the schema gives it.
    fn measure(&self, operand: &Operand<'_>) -> SizeEstimate {
        operand.size.or_else(|| self.declared(&operand.path)).unwrap_or(SizeEstimate::UNKNOWN)
    }

    /// The elements of a list, of which the schema may know the size.
    fn element(&self, list: &Operand<'_>) -> Option<Operand<'static>> {
        let ty = list.ty.params().first().map(|ty| (*ty).clone())?;
        let path = list.path.clone().and_then(|path| step(Some(path), "@items"));
        Some(Operand { path, ty, expr: None, size: None })
    }

    /// `ext/lists.go` and `ext/sets.go`.
    fn lists(&self, overload: &str, target: Option<&Operand<'_>>, args: &[Operand<'_>]) -> Option<CallEstimate> {
        let text = overload.contains("string") || overload.contains("bytes");
        let sort = |size: SizeEstimate| allocating(if text { 2.0 + TRAVERSAL } else { 2.0 }, size.times(size));
        Some(match overload {
            "list_slice" => {
                let size = self.measure(target?);
                let [start, end] = args else { return None };
                let (start, end) = (int_literal(start).unwrap_or(0), int_literal(end).unwrap_or(size.max));
                allocating(1.0, SizeEstimate::fixed(end.wrapping_sub(start)))
            }
            "lists_range" => allocating(1.0, SizeEstimate::fixed(int_literal(args.first()?).unwrap_or(u64::MAX))),
            "list_reverse" => allocating(1.0, self.measure(target?)),
            "list_flatten" => allocating(1.0, self.measure(target?)),
            "list_flatten_int" => {
                // One below zero is refused when it is evaluated.
                let depth = int_literal_any(args.first()?).map_or(u64::MAX, |depth| depth.cast_signed().max(0) as u64);
                allocating(depth as f64, self.measure(target?))
            }
            "list_distinct" => {
                let size = self.measure(target?);
                allocating(2.0, size.times(size))
            }
            "list_sets_contains_list" | "list_sets_intersects_list" | "list_sets_equivalent_list" => {
                let [one, other] = args else { return None };
                let factor = if overload == "list_sets_equivalent_list" { 2.0 } else { 1.0 };
                let pairs = self.measure(one).times(self.measure(other));
                only(pairs.cost(factor).plus(CostEstimate::fixed(1)))
            }
            _ if overload.ends_with("_sort") => sort(self.measure(target?)),
            _ if overload.ends_with("_sortByAssociatedKeys") => sort(self.measure(args.first()?)),
            _ => return None,
        })
    }

    /// Kubernetes' own estimates.
    fn library(
        &self,
        function: &str,
        overload: &str,
        target: Option<&Operand<'_>>,
        args: &[Operand<'_>],
    ) -> Option<CallEstimate> {
        let one = Some(only(CostEstimate::fixed(1)));
        let first = args.first();
        let walk = |factor: f64| first.map(|arg| only(self.measure(arg).cost(factor * TRAVERSAL)));
        match function {
            "check" => Some(only(CostEstimate::fixed(price::CHECK))),
            function if price::CHEAP.contains(&function) => one,
            "fieldSelector" | "labelSelector" => {
                let size = self.measure(first?);
                let requirements = size.cost(0.5).scaled(50.0);
                Some(only(CostEstimate::fixed(LIST).plus(size.cost(TRAVERSAL)).plus(requirements)))
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let target = target?;
                let size = self.measure(target);
                let Some(element) = self.element(target) else { return Some(only(size.cost(TRAVERSAL))) };
                let mut each = CostEstimate::fixed(1);
                if matches!(element.ty, Type::String | Type::Bytes) {
                    each = each.plus(self.measure(&element).cost(TRAVERSAL));
                }
                Some(only(size.times_cost(each)))
            }
            "url" | "jsonpatch.escapeKey" => first.map(|arg| {
                let size = self.measure(arg);
                sized(size.cost(TRAVERSAL), size)
            }),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => target.map(|target| {
                let size = self.measure(target);
                sized(size.cost(TRAVERSAL), size)
            }),
            "replace" => self.replace(target?, args),
            "split" => {
                let size = self.measure(target?);
                let max = args.get(1).and_then(int_literal_any).unwrap_or(size.max);
                Some(sized(size.cost(2.0 * TRAVERSAL), SizeEstimate { min: 0, max }))
            }
            "join" => self.join(target?, args),
            "find" | "findAll" => {
                let (subject, pattern) = (self.measure(target?), self.measure(first?));
                let walk = subject.plus(SizeEstimate::fixed(1)).cost(TRAVERSAL);
                Some(sized(walk.times(pattern.cost(REGEX)), SizeEstimate { min: 0, max: subject.max }))
            }
            "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => walk(1.0),
            "ip" if overload == "cidr_ip" => one,
            "ip" => walk(1.0),
            "ip.isCanonical" => walk(2.0),
            "containsIP" | "containsCIDR" => self.contains(overload, first?),
            "validate" => {
                let walk = self.measure(first?).cost(TRAVERSAL);
                Some(only(walk.scaled(FORMAT_REGEX * REGEX)))
            }
            "_==_" => equality(args),
            _ => None,
        }
    }

    fn contains(&self, overload: &str, other: &Operand<'_>) -> Option<CallEstimate> {
        // Addresses are 4 or 16 bytes.
        let size = SizeEstimate { min: 4, max: 16 };
        let mut cost = size.plus(size).cost(TRAVERSAL);
        if overload.starts_with("cidr_contains_cidr") {
            cost = cost.plus(size.cost(TRAVERSAL)).plus(CostEstimate::fixed(1));
        }
        if matches!(overload, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
            cost = cost.plus(self.measure(other).cost(TRAVERSAL));
        }
        Some(only(cost))
    }

    fn replace(&self, target: &Operand<'_>, args: &[Operand<'_>]) -> Option<CallEstimate> {
        let [old, new, ..] = args else { return None };
        let (size, old, new) = (self.measure(target), self.measure(old), self.measure(new));
        let divided = |size: u64, by: u64| (size as f64 / by as f64).ceil() as u64;
        let (max_count, max_kept) = if old.min == 0 {
            (size.max.saturating_add(1), size.max)
        } else if new.max <= old.min {
            (0, size.max)
        } else {
            (divided(size.max, old.min), 0)
        };
        let (min_count, min_kept) = if old.max == 0 {
            (size.min.saturating_add(1), size.min)
        } else if old.max <= new.min {
            (0, size.min)
        } else {
            (divided(size.min, old.max), 0)
        };
        let count = SizeEstimate { min: min_count, max: max_count };
        let result = count.times(new).plus(SizeEstimate { min: min_kept, max: max_kept });
        Some(sized(size.cost(2.0 * TRAVERSAL), result))
    }

    fn join(&self, target: &Operand<'_>, args: &[Operand<'_>]) -> Option<CallEstimate> {
        let count = self.measure(target);
        let mut size = SizeEstimate::fixed(0);
        if let Some(element) = self.element(target) {
            size = count.times(self.measure(&element));
        }
        if let Some(separator) = args.first() {
            let between = SizeEstimate { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
            size = size.plus(self.measure(separator).times(between));
        }
        Some(sized(size.cost(TRAVERSAL), size))
    }

    fn known(operand: &Operand<'_>) -> SizeEstimate {
        operand.size.unwrap_or(SizeEstimate::UNKNOWN)
    }

    fn standard(
        &mut self,
        expr: &Expr,
        overload: &str,
        target: Option<&Operand<'_>>,
        args: &[Operand<'_>],
        costs: &[CostEstimate],
    ) -> CallEstimate {
        let size = |at: usize| args.get(at).map_or(SizeEstimate::UNKNOWN, Self::known);
        let of_target = target.map(Self::known);
        match (overload, args.len()) {
            ("string_format", _) if target.is_some() => {
                only(of_target.unwrap_or(SizeEstimate::UNKNOWN).cost(TRAVERSAL))
            }
            ("string_to_bytes", 1) => {
                let size = size(0);
                sized(size.cost(TRAVERSAL), SizeEstimate { min: size.min, max: size.max.wrapping_mul(4) })
            }
            ("bytes_to_string", 1) => {
                let size = size(0);
                sized(size.cost(TRAVERSAL), SizeEstimate { min: size.min / 4, max: size.max })
            }
            ("strings_quote", 1) => {
                let size = size(0);
                let max = size.max.wrapping_mul(2).wrapping_add(2);
                sized(size.cost(TRAVERSAL), SizeEstimate { min: size.min + 2, max })
            }
            ("starts_with_string" | "ends_with_string", 1) => only(size(0).cost(TRAVERSAL)),
            ("in_list", 2) => only(size(1).cost(1.0)),
            ("matches_string", 1) if target.is_some() => {
                let subject = of_target.unwrap_or(SizeEstimate::UNKNOWN).plus(SizeEstimate::fixed(1)).cost(TRAVERSAL);
                only(subject.times(size(0).cost(REGEX)))
            }
            ("contains_string", 1) if target.is_some() => {
                let subject = of_target.unwrap_or(SizeEstimate::UNKNOWN).cost(TRAVERSAL);
                only(subject.times(size(0).cost(TRAVERSAL)))
            }
            ("logical_or" | "logical_and", 2) => {
                only(CostEstimate { min: costs[0].min, max: costs[0].plus(costs[1]).max })
            }
            ("conditional", 3) => {
                let branch = |at: usize| args[at].expr.and_then(|expr| self.entry_size(expr));
                if let Some(entries) = EntrySize::union(branch(1), branch(2)) {
                    self.entries.insert(expr.id, entries);
                }
                sized(costs[0].plus(costs[1].union(costs[2])), size(1).union(size(2)))
            }
            ("add_string" | "add_bytes" | "add_list", 2) => {
                let result = size(0).plus(size(1));
                let side = |at: usize| args[at].expr.and_then(|expr| self.entry_size(expr));
                if let Some(entries) = EntrySize::union(side(0), side(1)) {
                    self.entries.insert(expr.id, entries);
                }
                let cost = if overload == "add_list" { CostEstimate::fixed(1) } else { result.cost(TRAVERSAL) };
                sized(cost, result)
            }
            (
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes"
                | "equals"
                | "not_equals",
                2,
            ) => {
                let max = size(0).max.min(size(1).max);
                only(CostEstimate { min: u64::from(max > 0), max }.scaled(TRAVERSAL))
            }
            _ => only(CostEstimate::fixed(1)),
        }
    }
}

/// An integer literal, wrapped as Go converts it.
fn int_literal_any(operand: &Operand<'_>) -> Option<u64> {
    match operand.expr.map(|expr| &expr.kind) {
        Some(Kind::Literal(Literal::Int(value))) => Some(*value as u64),
        _ => None,
    }
}

/// Equality of library types.
fn equality(args: &[Operand<'_>]) -> Option<CallEstimate> {
    let [left, right] = args else { return None };
    let (Type::Opaque(name), true) = (&left.ty, left.ty == right.ty) else { return None };
    Some(only(match *name {
        "kubernetes.NamedFormat" => CostEstimate { min: 1, max: 64 }.scaled(TRAVERSAL),
        "kubernetes.URL" => {
            let size = right.size.unwrap_or(SizeEstimate::fixed(1));
            CostEstimate { min: 1, max: size.max }.scaled(TRAVERSAL)
        }
        _ => CostEstimate::fixed(1),
    }))
}
