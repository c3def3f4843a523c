/** What an attachment needs of the iptables backend, as values. */
import type { Family } from "../ip/address.ts";

/** A rule as iptables-restore reads it. */
export interface IptablesRule {
  readonly table: string;
  readonly chain: string;
  /** Whether it is inserted at the beginning of the chain instead of its end. */
  readonly first: boolean;
  /** Matches and target: `-p tcp -m tcp --dport 80 -j ACCEPT`. */
  readonly text: string;
  /** For a shared rule: a saved rule of the chain that contains all of these is the same rule. */
  readonly marks: readonly string[];
}

export interface IptablesChain {
  readonly table: string;
  readonly name: string;
}

/** What an attachment needs of one IP version. */
export interface IptablesPlan {
  readonly family: Family;
  /** Chains and rules that all attachments share: they are made once and never removed. */
  readonly sharedChains: readonly IptablesChain[];
  readonly sharedRules: readonly IptablesRule[];
  /** The attachment's own chain in the table "nat"; "" if it needs only what is shared. */
  readonly chain: string;
  /** The rules in that chain and those that lead to it. */
  readonly rules: readonly IptablesRule[];
  /** The link from which packets for 127.0.0.0/8 are dropped; "" for none. */
  readonly localnetLink: string;
}
