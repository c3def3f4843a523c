/** `peers`: the peers in the configuration itself. */
import type { Fields } from "../../cni/fields.ts";
import { formatJson } from "../../cni/json.ts";
import { PeerTable } from "../peer-table.ts";
import type { PeerList, Reject } from "../peers.ts";
import { readFields } from "../record.ts";
import { PeerSource, type ReadPeers } from "./source.ts";

/** The stamp has the peers themselves. */
const IDENTITY = "inline";

class InlineSource extends PeerSource {
  readonly #list: PeerList;

  constructor(option: string, value: string, list: PeerList) {
    super(option, value);
    this.#list = list;
  }

  override name(): string {
    return "";
  }

  override identity(): string {
    return IDENTITY;
  }

  override read(): ReadPeers {
    return { list: this.#list, identity: IDENTITY };
  }
}

/** @param option whose value is an array of records @throws CniError 7 if it is not */
export function inlineSource(option: string, fields: Fields): PeerSource {
  const value = fields.find(option);
  const peers = new PeerTable("", 0);
  const rejects: Reject[] = [];
  for (const entry of fields.objects(option)) {
    const { peer, reject } = readFields(entry, entry.path);
    if (peer !== null) peers.add(peer, 0);
    if (reject !== null) rejects.push(reject);
  }
  /* `force`: who removes many peers from the node's own configuration means that. */
  return new InlineSource(option, value === null ? "" : formatJson(value), {
    generation: 0,
    force: true,
    peers,
    rejects,
  });
}
