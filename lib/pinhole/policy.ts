/**
 * The site policy: read it with `parsePolicy`, make it fast with `compilePolicy`, ask it with `decide`
 * (paper, section 4.2; the language is in docs/man/diaper-policy.5).
 *
 * @module
 */
export { type HostAnswer, type HostResolver } from "./policy_fields.ts";
export { type ParsedPolicy, parsePolicy, policyHosts } from "./policy_parse.ts";
export { compilePolicy, type Policy, ruleName } from "./policy_compile.ts";
export {
  IDLE_STATE,
  type PolicyDecision,
  type PolicyExplanation,
  type PolicyQuestion,
  type PolicyState,
  type RulePart,
  type RuleVerdict,
} from "./policy_question.ts";
export { type PolicyProblem, problemExcerpt, problemText } from "./policy_problem.ts";
export { durationText, formatRule, type PolicyRule, type RuleKeys } from "./policy_rule.ts";
export {
  type Finding,
  type NiQuarantine,
  type Reaction,
  reactionTo,
  type ReactRule,
} from "./policy_react.ts";
export { checkPolicy } from "./policy_check.ts";
export {
  type CaseResult,
  parseCases,
  type ParsedCases,
  type PolicyCase,
  runCase,
} from "./policy_cases.ts";
export { readMoment } from "./policy_keys.ts";
export { MAX_FILE_SIZE } from "./policy_lines.ts";
