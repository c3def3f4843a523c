/** `peers`: the peers in the configuration itself. */
import type { Fields } from "../../cni/fields.ts";
import { formatJson } from "../../cni/json.ts";
import { PeerTable } from "../peer-table.ts";
import type { PeerList, Reject } from "../peers.ts";
import { readFields } from "../record.ts";
import { PeerSource, type ReadPeers } from "./source.ts";

/** The stamp has the peers themselves. */
const IDENTITY = "inline";

export class InlineSource extends PeerSource {
  readonly #list: PeerList;

  /** @param fields the configuration, which has `peers` @throws CniError 7 if these are no objects */
  constructor(fields: Fields) {
    const value = fields.find("peers");
    super("peers", value === null ? "" : formatJson(value));
    const peers = new PeerTable("", 0);
    const rejects: Reject[] = [];
    for (const entry of fields.objects("peers")) {
      const { peer, reject } = readFields(entry, entry.path);
      if (peer !== null) peers.add(peer, 0);
      if (reject !== null) rejects.push(reject);
    }
    /* The configuration is this node's own: who removes many peers from it means that. */
    this.#list = { generation: 0, force: true, peers, rejects };
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
