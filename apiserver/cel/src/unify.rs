//! Assignability with type variables (cel-go `checker/types.go`).

use std::sync::Arc;

use crate::types::{Param, Type};

/// What type variables stand for. Declared variables are replaced by free ones before they come here.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    bound: Vec<Option<Type>>,
    /// Earlier values, so that a failed attempt can be undone.
    trail: Vec<(usize, Option<Type>)>,
}

impl Bindings {
    pub(crate) fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Param(Param::Free(u32::try_from(self.bound.len() - 1).unwrap_or(u32::MAX)))
    }

    fn find(&self, ty: &Type) -> Option<&Type> {
        match ty {
            Type::Param(Param::Free(number)) => self.bound.get(*number as usize)?.as_ref(),
            _ => None,
        }
    }

    fn bind(&mut self, param: &Type, to: Type) {
        let Type::Param(Param::Free(number)) = param else { return };
        if let Some(slot) = self.bound.get_mut(*number as usize) {
            self.trail.push((*number as usize, slot.replace(to)));
        }
    }

    /// Whether each of `from` is assignable to its counterpart; bindings are kept only if all are.
    pub(crate) fn assignable_all<'t>(&mut self, pairs: impl IntoIterator<Item = (&'t Type, &'t Type)>) -> bool {
        let mark = self.trail.len();
        let fits = pairs.into_iter().all(|(from, to)| self.assign(from, to));
        if !fits {
            while self.trail.len() > mark {
                if let Some((at, before)) = self.trail.pop() {
                    self.bound[at] = before;
                }
            }
        }
        fits
    }

    pub(crate) fn assignable(&mut self, from: &Type, to: &Type) -> bool {
        self.assignable_all([(from, to)])
    }

    fn assign(&mut self, t1: &Type, t2: &Type) -> bool {
        if matches!(t2, Type::Param(_)) {
            let (valid, bound) = self.substitutes(t1, t2);
            if valid || bound {
                return valid;
            }
        }
        if matches!(t1, Type::Param(_)) {
            return self.substitutes(t2, t1).0;
        }
        if t1.is_dyn_or_error() || t2.is_dyn_or_error() {
            return true;
        }
        match (t1, t2) {
            (Type::Null, other) | (other, Type::Null) => other.is_nullable(),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.assign(a, b),
            (Type::Map(a, x), Type::Map(b, y)) => self.assign(a, b) && self.assign(x, y),
            _ => t1 == t2,
        }
    }

    /// Whether `t2` may stand for `t1`, and whether it stood for something already.
    fn substitutes(&mut self, t1: &Type, t2: &Type) -> (bool, bool) {
        if t1 == t2 {
            return (true, true);
        }
        if let Some(now) = self.find(t2).cloned() {
            if *t1 == now {
                return (true, true);
            }
            if self.assign(t1, &now) {
                let general = most_general(t1, &now);
                if self.absent(t2, &general) {
                    self.bind(t2, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.absent(t2, t1) {
            self.bind(t2, t1.clone());
            return (true, false);
        }
        (false, false)
    }

    /// The occurs check.
    fn absent(&self, param: &Type, within: &Type) -> bool {
        if param == within {
            return false;
        }
        match within {
            Type::Param(_) => self.find(within).is_none_or(|bound| self.absent(param, bound)),
            _ => within.params().into_iter().all(|part| self.absent(param, part)),
        }
    }

    /// Bound variables replaced; free ones become `dyn` if asked.
    pub(crate) fn substitute(&self, ty: &Type, free_to_dyn: bool) -> Type {
        if let Some(bound) = self.find(ty) {
            return self.substitute(bound, free_to_dyn);
        }
        match ty {
            Type::Param(_) if free_to_dyn => Type::Dyn,
            _ => ty.with_params(|part| self.substitute(part, free_to_dyn)),
        }
    }
}

impl Type {
    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    fn is_nullable(&self) -> bool {
        matches!(
            self,
            Self::Null | Self::Optional(_) | Self::Object(_) | Self::Opaque(_) | Self::Duration | Self::Timestamp
        )
    }

    /// A declaration's variables replaced by those of `fresh`.
    pub(crate) fn instantiate(&self, fresh: &mut impl FnMut(char) -> Self) -> Self {
        match self {
            Self::Param(Param::Declared(name)) => fresh(*name),
            Self::Map(key, value) => {
                let key = key.instantiate(fresh);
                Self::Map(Arc::new(key), Arc::new(value.instantiate(fresh)))
            }
            Self::List(of) => Self::list(of.instantiate(fresh)),
            Self::Optional(of) => Self::optional(of.instantiate(fresh)),
            Self::Type(Some(of)) => Self::Type(Some(Arc::new(of.instantiate(fresh)))),
            other => other.clone(),
        }
    }
}

/// Of two types that unify, the more general.
pub(crate) fn most_general(t1: &Type, t2: &Type) -> Type {
    if less_specific(t1, t2) { t1.clone() } else { t2.clone() }
}

fn less_specific(t1: &Type, t2: &Type) -> bool {
    match (t1, t2) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => less_specific(a, b),
        (Type::Map(a, x), Type::Map(b, y)) => less_specific(a, b) && less_specific(x, y),
        (Type::Type(_), Type::Type(_)) => true,
        _ => t1 == t2,
    }
}
