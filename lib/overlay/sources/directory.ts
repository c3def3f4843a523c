/** `peersDir`: a directory with a file for each peer, which has one JSON object. Files whose names begin with a dot are skipped. */
import { listNames } from "../../host/directory.ts";
import * as sys from "../../sys/sys.ts";
import { PeerTable } from "../peer-table.ts";
import type { Reject } from "../peers.ts";
import { readRecord } from "../record.ts";
import { contentsOf, fileIdentity, opened, PeerSource, type ReadPeers } from "./source.ts";

const MAX_RECORD_BYTES = 16_384;

export class DirectorySource extends PeerSource {
  override name(): string {
    return this.value;
  }

  override identity(): string {
    const directory = sys.open(this.value, sys.O_RDONLY | sys.O_DIRECTORY);
    if (directory < 0) return "";
    try {
      const lines: string[] = [];
      for (const name of namesIn(directory)) lines.push(identityOf(name, sys.fstatat(directory, name, 0)));
      return lines.join("\n");
    } finally {
      sys.close(directory);
    }
  }

  override read(): ReadPeers {
    const path = this.value;
    const directory = opened(sys.open(path, sys.O_RDONLY | sys.O_DIRECTORY), path);
    try {
      const peers = new PeerTable("", 0);
      const rejects: Reject[] = [];
      const identities: string[] = [];
      for (const name of namesIn(directory)) {
        const place = `${path}/${name}`;
        const fd = opened(sys.openat(directory, name, sys.O_RDONLY | sys.O_NONBLOCK, 0), place);
        try {
          identities.push(identityOf(name, sys.fstat(fd)));
          const { peer, reject } = readRecord(contentsOf(fd, place, MAX_RECORD_BYTES, 0), place);
          if (peer !== null) peers.add(peer, 0);
          if (reject !== null) rejects.push(reject);
        } finally {
          sys.close(fd);
        }
      }
      return { list: { generation: 0, force: false, peers, rejects }, identity: identities.join("\n") };
    } finally {
      sys.close(directory);
    }
  }
}

function identityOf(name: string, status: sys.FileStatus | null): string {
  return `${name} ${fileIdentity(status)}`;
}

/** The names of the records, in order. A writer that begins a name with a dot has not finished the file. */
function namesIn(directory: number): string[] {
  return listNames(directory)
    .filter((name) => !name.startsWith("."))
    .sort();
}
