/** portmap under faults for the first pod of a node: table and chains are made. */
import { COLD_PORTMAP } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

for (const subject of Object.values(COLD_PORTMAP)) describeFaults(subject);
