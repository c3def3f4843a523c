/**
 * Makes one batch of calls with the executables of one directory and prints what could be seen, an observation a line.
 * `fuzz.sh` starts it inside mount and network namespaces of its own, which are the same for each directory.
 *
 * Arguments: seed, number of the batch, how many spoilt calls, how many lives of attachments.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Execution, execute } from "../../testbed/starter.ts";
import { makePlaces, PLACES } from "../protocol/fuzz-places.ts";
import { makeInput } from "../protocol/mutations.ts";
import { Random } from "../protocol/random.ts";
import { type LifeCall, live, peersText } from "./lives.ts";
import { answerOf, type Observation, stateOf } from "./observation.ts";

const TIME_LIMIT_MS = 20_000;

const observations: Observation[] = [];

async function main(): Promise<void> {
  const [seed = 0, batch = 0, spoilt = 0, lives = 0] = process.argv.slice(2).map(Number);
  makePlaces();
  const random = new Random(Math.imul(seed + batch, 0x9e3779b1));
  for (let number = 0; number < lives; number += 1) {
    writeFileSync(PLACES.peersFile, peersText(random));
    await live(random, number, make, look);
  }
  for (let number = 0; number < spoilt; number += 1) {
    const { peers, ...input } = makeInput(seed, batch * spoilt + number, PLACES);
    if (peers !== null) writeFileSync(PLACES.peersFile, peers);
    await observe({ ...input, words: [] });
  }
  await look();
  process.stdout.write(observations.map((item) => `${JSON.stringify(item)}\n`).join(""));
}

async function make(call: LifeCall): Promise<string> {
  return (await observe(call)).stdout;
}

async function observe(call: Omit<LifeCall, "stdin"> & { readonly stdin: string | Uint8Array }): Promise<Execution> {
  const { plugin, words, env, stdin } = call;
  const file = join(PLACES.bin, plugin);
  const ended = await execute({ file, args: words, env, stdin, timeoutMs: TIME_LIMIT_MS, cwd: "/" });
  const input = Buffer.from(stdin).toString("latin1").slice(0, 4000);
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const shown = [...variables, file, ...words, "<<<", input].join(" ");
  observations.push({ call: shown, answer: answerOf(ended), state: "" });
  return ended;
}

/** Adds the state to the last observation. */
async function look(): Promise<void> {
  const last = observations.pop();
  if (last !== undefined) observations.push({ ...last, state: await stateOf() });
}

await main();
