/** Whether this version's tables can hold a record: one of another version may have other sets and chains. */
import { clip } from "../text.ts";
import { elementOf } from "./elements.ts";
import { compileRules } from "./language.ts";
import { type FilterChain, type FilterElement, type FilterRecord, formatElement } from "./record.ts";
import { managedTable, type TableName } from "./ruleset.ts";
import { LanguageError } from "./values.ts";

/** The kernel's limit for names of chains (NFT_CHAIN_MAXNAMELEN in linux/netfilter/nf_tables.h). */
const MAX_CHAIN_NAME = 127;

/** Rules that were found valid: the chains of many attachments have the same. */
const validRules = new Set<string>();

/** For a process that outlives a call. */
export function forgetRules(): void {
  validRules.clear();
}

/** The record without chains and elements that the tables cannot hold: their text is added to a list. */
export function withoutInvalid(record: FilterRecord, invalid: string[]): FilterRecord {
  const chains: FilterChain[] = [];
  for (const chain of record.chains) {
    if (isValidChain(chain, chains)) chains.push(chain);
    else invalid.push(clip(`chain ${chain.table} ${chain.name}`));
  }
  const elements = validElements(record.elements, chains, invalid);
  const claimElements = validElements(record.claimElements, chains, invalid);
  return { ...record, chains, elements, claimElements };
}

function validElements(
  elements: readonly FilterElement[],
  chains: readonly FilterChain[],
  invalid: string[],
): FilterElement[] {
  const valid: FilterElement[] = [];
  for (const element of elements) {
    if (isValidElement(element, chains)) valid.push(element);
    else invalid.push(clip(formatElement(element)));
  }
  return valid;
}

function isValidChain(chain: FilterChain, earlier: readonly FilterChain[]): boolean {
  const { table, name } = chain;
  if (name === "" || name.length > MAX_CHAIN_NAME || chain.rules.length === 0) return false;
  if (managedTable(table).hasChain(name)) return false;
  return chain.rules.every((rule) => isValidRule(table, rule, earlier));
}

/** Whether a rule compiles, and refers only to chains and sets that exist. */
function isValidRule(table: TableName, rule: string, earlier: readonly FilterChain[]): boolean {
  const known = `${table} ${rule}`;
  if (validRules.has(known)) return true;
  const { family } = managedTable(table);
  const valid = unlessRefused(() => {
    for (const expressions of compileRules(family, rule)) {
      for (const expression of expressions) {
        if (expression.kind === "verdict" && !isChain(table, expression.verdict.chain, earlier)) return false;
        if (expression.kind === "lookup" && managedTable(table).findSet(expression.set) === null) return false;
      }
    }
    return true;
  });
  if (valid) validRules.add(known);
  return valid;
}

function isValidElement(element: FilterElement, chains: readonly FilterChain[]): boolean {
  const { table, key, data } = element;
  const set = managedTable(table).findSet(element.set);
  if (set === null) return false;
  return unlessRefused(() => {
    const { verdict } = elementOf(set, key, data, "");
    return verdict === null || isChain(table, verdict.chain, chains);
  });
}

/** Whether a chain that a verdict leads to exists; "" for a verdict that leads to none. */
function isChain(table: TableName, name: string, chains: readonly FilterChain[]): boolean {
  if (name === "" || managedTable(table).hasChain(name)) return true;
  for (const chain of chains) {
    if (chain.table === table && chain.name === name) return true;
  }
  return false;
}

function unlessRefused(test: () => boolean): boolean {
  try {
    return test();
  } catch (error) {
    if (error instanceof LanguageError) return false;
    throw error;
  }
}
