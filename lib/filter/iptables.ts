/**
 * Runs the programs of iptables, without a shell. An operation takes one iptables-restore if nothing is in the way. The
 * caller holds the lock that orders Podwire's own changes; the programs wait for the lock of iptables.
 */

import { CniError, KERNEL_REFUSED, TRY_AGAIN_LATER } from "../errors.ts";
import { firstLine, howItEnded, type Outcome, runProgram } from "../host/program.ts";
import type { Family } from "../ip/address.ts";
import { textAt } from "../lists.ts";
import { ENODEV, errnoText } from "../sys/errno.ts";
import * as network from "../sys/network.ts";
import * as sys from "../sys/sys.ts";
import { isDigits } from "../text.ts";
import type { IptablesPlan } from "./iptables-plan.ts";
import { HOSTPORT_PREFIX } from "./iptables-rules.ts";
import {
  attemptText,
  checkText,
  localnetLinks,
  missingRule,
  parseSaved,
  removalText,
  repairText,
  type SavedTable,
  unseenRules,
} from "./iptables-text.ts";

/** The directories that are searched for programs, before those of PATH. */
const DIRECTORIES = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];
/** How long iptables may wait for its lock, which a reload of a firewall holds. */
const LOCK_SECONDS = "5";
/** RESOURCE_PROBLEM of iptables (include/xtables.h), mostly because of its lock. */
const RESOURCE_PROBLEM = 4;

/** Which of the two implementations: "" for the one that the node uses, "-nft" or "-legacy". */
export type IptablesVariant = "" | "-nft" | "-legacy";

/** The path of a program of iptables: "iptables-restore", "ip6tables-save"; null if the node has none. */
export function findIptables(family: Family, variant: IptablesVariant, action: "save" | "restore"): string | null {
  const directories = [...DIRECTORIES];
  for (const directory of (sys.getenv("PATH") ?? "").split(":")) {
    if (directory.startsWith("/")) directories.push(directory);
  }
  /* A node with one implementation may have it only under the name without the variant. */
  for (const kind of variant === "" ? [""] : [variant, ""]) {
    for (const directory of directories) {
      const path = `${directory}/${nameOf(family)}${kind}-${action}`;
      const status = sys.fstatat(sys.AT_FDCWD, path, 0);
      if (status !== null && (status.mode & sys.S_IFMT) === sys.S_IFREG) return path;
    }
  }
  return null;
}

/** @throws CniError 100 if the node has no iptables */
export function requireIptables(): void {
  programOrThrow(4, "", "restore");
}

/** Runs iptables-restore with an empty input. @throws CniError 11 if its lock is held for too long; 100 if it refuses */
export function requireWorkingIptables(family: Family): void {
  restoreOrThrow(family, "", "*nat\nCOMMIT\n");
}

/**
 * Makes an attachment's rules, once each whatever existed of them, and what is shared.
 * @returns whether everything shared existed: if not, it was flushed, and the rules of other attachments as well
 * @throws CniError 11 if iptables' lock is held for too long; 100 if there is no iptables or it refuses
 */
export function addIptables(plan: IptablesPlan): boolean {
  const outcome = restore(plan.family, "", attemptText(plan));
  if (outcome.status === 0) return true;
  throwIfLocked(outcome, plan.family);
  /* Something shared is missing, or an earlier try has left something. */
  const saved = saveOrThrow(plan.family, "", tableOf([plan]));
  restoreOrThrow(plan.family, "", repairText(saved, [plan], [], goneLinks(saved)));
  return false;
}

/**
 * Puts back what is missing of the rules of several attachments, for one IP version.
 * @returns whether anything was missing
 * @throws as addIptables
 */
export function repairIptables(plans: readonly IptablesPlan[]): boolean {
  const [first] = plans;
  if (first === undefined) return false;
  const text = repairText(saveOrThrow(first.family, "", tableOf(plans)), [], plans, []);
  if (text !== "") restoreOrThrow(first.family, "", text);
  return text !== "";
}

/**
 * Compares an attachment's rules with those that exist.
 * @returns null if none is missing, else a message
 * @throws CniError 11 if iptables' lock is held for too long; 100 if there is no iptables
 */
export function checkIptables(plan: IptablesPlan): string | null {
  const saved = saveOrThrow(plan.family, "", tableOf([plan]));
  const unseen = unseenRules(saved, plan);
  if (unseen.length === 0) return null;
  const missing = missingRule(saved, unseen);
  if (missing !== "") return missingText(plan, missing);
  /* iptables may print the user's conditions in another way: it is asked whether it has the remaining rules. */
  const text = checkText(unseen);
  const outcome = restore(plan.family, "", text);
  if (outcome.status === 0) return null;
  throwIfLocked(outcome, plan.family);
  const said = firstLine(outcome.errors);
  const rule = failedLine(text, said);
  return rule.startsWith("-C ") ? missingText(plan, rule.slice(3)) : said;
}

function missingText(plan: IptablesPlan, rule: string): string {
  let what = plan.chain.startsWith(HOSTPORT_PREFIX) ? "published ports" : "masquerade";
  if (plan.chain === "") what = "forwarded packets";
  return `${nameOf(plan.family)} has no rule for ${what}: "${rule}"`;
}

/**
 * Removes chains of the table "nat" and the rules that lead to them, as far as they exist.
 * @param variant the implementation that made them
 * @param chosen picks the chains from what exists
 * @returns whether anything was removed
 * @throws CniError 11 or 100 as addIptables; a node without iptables has nothing to remove
 */
export function removeIptables(
  family: Family,
  variant: IptablesVariant,
  chosen: (saved: readonly SavedTable[]) => readonly string[],
): boolean {
  if (findIptables(family, variant, "save") === null) return false;
  const saved = saveOrThrow(family, variant, "nat");
  const text = removalText(saved, chosen(saved));
  if (text !== "") restoreOrThrow(family, variant, text);
  return text !== "";
}

/** The table that plans are about; "" if it is more than one. */
function tableOf(plans: readonly IptablesPlan[]): string {
  const [first] = plans;
  if (first === undefined || plans.some((plan) => plan.localnetLink !== "")) return "";
  const isForwarding = first.chain === "";
  if (plans.some((plan) => (plan.chain === "") !== isForwarding)) return "";
  return isForwarding ? "filter" : "nat";
}

/** Runs iptables-restore, which keeps all chains that the input does not name. */
function restore(family: Family, variant: IptablesVariant, text: string): Outcome {
  const path = programOrThrow(family, variant, "restore");
  return started(path, runProgram(path, ["--noflush", "-w", LOCK_SECONDS], false, new TextEncoder().encode(text)));
}

function restoreOrThrow(family: Family, variant: IptablesVariant, text: string): void {
  const outcome = restore(family, variant, text);
  if (outcome.status === 0) return;
  throwIfLocked(outcome, family);
  const said = firstLine(outcome.errors);
  throwIfForeignChainMissing(said, family);
  const line = failedLine(text, said);
  throw refused(`${nameOf(family)}-restore`, outcome, line === "" ? "nothing was changed" : `it refused: ${line}`);
}

/** The chain of another program may be made later: kube-proxy makes KUBE-MARK-MASQ when it starts. */
function throwIfForeignChainMissing(said: string, family: Family): void {
  const chain = said.split("Chain '")[1]?.split("'")[0] ?? said.split("load target `")[1]?.split("'")[0] ?? "";
  if (chain === "" || chain.startsWith("CNI-")) return;
  throw new CniError(
    TRY_AGAIN_LATER,
    `${nameOf(family)} has no chain ${chain}`,
    "whoever makes it has to come before pods whose ports need it: kube-proxy, for KUBE-MARK-MASQ; nothing was changed",
  );
}

/**
 * Runs iptables-save. The result is empty where iptables uses nf_tables and the kernel has none.
 * @param table "" for all
 */
function saveOrThrow(family: Family, variant: IptablesVariant, table: string): SavedTable[] {
  const path = programOrThrow(family, variant, "save");
  const list = table === "" ? [] : ["-t", table];
  const outcome = started(path, runProgram(path, list, false, new Uint8Array(0)));
  const text = new TextDecoder().decode(outcome.output);
  if (outcome.status !== 0) {
    if (lacksNftables(outcome)) return [];
    throw refused(`${nameOf(family)}-save`, outcome, "nothing was changed");
  }
  /* "# Table `nat' is incompatible, use 'nft' tool." */
  if (text.includes("' is incompatible, use 'nft'")) {
    throw new CniError(
      KERNEL_REFUSED,
      `${nameOf(family)} cannot read its own table: somebody has put rules of nftables into it`,
      "nothing was changed; let whoever made them use a table of their own, or use the backend nftables",
    );
  }
  return parseSaved(text);
}

function programOrThrow(family: Family, variant: IptablesVariant, action: "save" | "restore"): string {
  const path = findIptables(family, variant, action);
  if (path !== null) return path;
  throw new CniError(
    KERNEL_REFUSED,
    `there is no ${nameOf(family)}-${action} on this node`,
    `looked in ${DIRECTORIES.join(", ")} and PATH; install iptables, or use the backend nftables, which needs no program`,
  );
}

function started(path: string, outcome: Outcome): Outcome {
  if (outcome.status >= 0) return outcome;
  throw new CniError(
    KERNEL_REFUSED,
    `failed to start ${path}: ${errnoText(-outcome.status)}`,
    "install iptables again, or use the backend nftables, which needs no program",
  );
}

function throwIfLocked(outcome: Outcome, family: Family): void {
  const said = new TextDecoder().decode(outcome.errors);
  if (outcome.status !== RESOURCE_PROBLEM) return;
  if (!said.includes("lock") && !said.includes("temporarily unavailable")) return;
  throw new CniError(
    TRY_AGAIN_LATER,
    `${nameOf(family)} is in use by another process`,
    `waited ${LOCK_SECONDS} s; nothing was changed. It said: ${firstLine(outcome.errors)}`,
  );
}

function refused(program: string, outcome: Outcome, details: string): CniError {
  const ended = `${program} ${howItEnded(outcome.status)}`;
  if (!lacksNftables(outcome)) return new CniError(KERNEL_REFUSED, `${ended}: ${firstLine(outcome.errors)}`, details);
  return new CniError(
    KERNEL_REFUSED,
    `${ended}: it is made of nf_tables, which this kernel lacks`,
    "the kernel lacks CONFIG_NF_TABLES (module nf_tables); load the module, or use a kernel that has it",
  );
}

/** Whether an iptables that uses nf_tables reports that the kernel has none; warnings may precede the message. */
function lacksNftables(outcome: Outcome): boolean {
  return new TextDecoder().decode(outcome.errors).includes("rule set generation id: Invalid argument");
}

/** The line of the input that "iptables-restore: line 3 failed" is about; "" for another message. */
function failedLine(text: string, said: string): string {
  const [, rest = ""] = said.split(": line ");
  const number = textAt(rest.split(" "), 0);
  return isDigits(number) ? textAt(text.split("\n"), parseInt(number, 10) - 1) : "";
}

function goneLinks(saved: readonly SavedTable[]): string[] {
  return localnetLinks(saved).filter((link) => network.interfaceIndex(link) === -ENODEV);
}

function nameOf(family: Family): string {
  return family === 4 ? "iptables" : "ip6tables";
}
