/** What of a record this version's ruleset can hold. A record may be another version's, which has other sets and chains. */
import { clip } from "../text.ts";
import { elementOf } from "./elements.ts";
import { compileRules } from "./language.ts";
import { type FilterChain, type FilterElement, type FilterRecord, formatElement } from "./record.ts";
import { managedTable, type TableName } from "./ruleset.ts";
import { LanguageError } from "./values.ts";

/** The kernel's limit for names of chains (NFT_CHAIN_MAXNAMELEN in linux/netfilter/nf_tables.h). */
const MAX_CHAIN_NAME = 127;

/** Rules that were found fit, which the chains of many attachments consist of. */
const fitRules = new Set<string>();

/** A record without what the ruleset cannot hold, which is added to a list, in words. */
export function fitting(record: FilterRecord, strange: string[]): FilterRecord {
  const chains: FilterChain[] = [];
  for (const chain of record.chains) {
    if (isFitChain(chain, chains)) chains.push(chain);
    else strange.push(clip(`chain ${chain.table} ${chain.name}`));
  }
  const elements = fittingElements(record.elements, chains, strange);
  const claims = fittingElements(record.claims, chains, strange);
  return { ...record, chains, elements, claims };
}

function fittingElements(
  elements: readonly FilterElement[],
  chains: readonly FilterChain[],
  strange: string[],
): FilterElement[] {
  const fit: FilterElement[] = [];
  for (const element of elements) {
    if (isFitElement(element, chains)) fit.push(element);
    else strange.push(clip(formatElement(element)));
  }
  return fit;
}

function isFitChain(chain: FilterChain, earlier: readonly FilterChain[]): boolean {
  const { table, name } = chain;
  if (name === "" || name.length > MAX_CHAIN_NAME || chain.rules.length === 0) return false;
  if (managedTable(table).hasChain(name)) return false;
  return chain.rules.every((rule) => isFitRule(table, rule, earlier));
}

/** Whether a rule is one that we write, and leads to nothing but chains and sets that there are. */
function isFitRule(table: TableName, rule: string, earlier: readonly FilterChain[]): boolean {
  const known = `${table} ${rule}`;
  if (fitRules.has(known)) return true;
  const { family } = managedTable(table);
  const fit = unlessUnknown(() => {
    for (const expressions of compileRules(family, rule)) {
      for (const expression of expressions) {
        if (expression.kind === "verdict" && !isChain(table, expression.verdict.chain, earlier)) return false;
        if (expression.kind === "lookup" && managedTable(table).findSet(expression.set) === null) return false;
      }
    }
    return true;
  });
  if (fit) fitRules.add(known);
  return fit;
}

function isFitElement(element: FilterElement, chains: readonly FilterChain[]): boolean {
  const { table, key, data } = element;
  const set = managedTable(table).findSet(element.set);
  if (set === null) return false;
  return unlessUnknown(() => {
    const { verdict } = elementOf(set, key, data, "");
    return verdict === null || isChain(table, verdict.chain, chains);
  });
}

/** Whether a verdict may lead to a chain; "" is none. */
function isChain(table: TableName, name: string, chains: readonly FilterChain[]): boolean {
  if (name === "" || managedTable(table).hasChain(name)) return true;
  for (const chain of chains) {
    if (chain.table === table && chain.name === name) return true;
  }
  return false;
}

function unlessUnknown(test: () => boolean): boolean {
  try {
    return test();
  } catch (error) {
    if (error instanceof LanguageError) return false;
    throw error;
  }
}
