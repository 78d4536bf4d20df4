// `setup --print`: the commands an administrator would run, and only those that are still to be run.
import { createClient, inspectDeployment, unlessForbidden } from './client.ts';
import { capturedCollections, matchingDatabases, withoutImages } from './collections.ts';
import { mongoError } from './errors.ts';
import { OplogJoin } from './oplog-join.ts';
import type { ResolvedMongodb } from './resolved.ts';
import { CAPTURE_ROLE, captureRole, imagesText, OPLOG_ROLE, oplogRole, oplogView, shellText } from './setup.ts';
import { UserNames } from './user-names.ts';

/** Lines for mongosh. @throws AUD_MONGO_CONNECT and friends */
export async function planMongodb(options: ResolvedMongodb): Promise<readonly string[]> {
  const client = createClient(options.url, options.name);
  try {
    const deployment = await inspectDeployment(client, options.url, options.name);
    const databases = await matchingDatabases(client, options.matcher, options.only);
    const collections = await capturedCollections(client, options.matcher, databases);
    const lines: string[] = [];
    const { oplog_view: view } = options;
    if (deployment.authentication && !(await hasRole(client, CAPTURE_ROLE))) {
      lines.push(shellText(captureRole(options.only)));
      lines.push(grantLine(CAPTURE_ROLE));
    }
    if (deployment.authentication && view !== false && !deployment.sharded) {
      const join = new OplogJoin(client, view, new UserNames([]));
      const state = await join.probe(new AbortController().signal);
      if (state !== 'ready') lines.push(shellText(oplogView(view)), shellText(oplogRole(view)), grantLine(OPLOG_ROLE));
    }
    const bare = withoutImages(collections, options.context_collection);
    return [...lines, ...bare.map((c) => imagesText(c.database, c.collection))];
  } catch (error) {
    throw mongoError(error, options.name);
  } finally {
    await client.close();
  }
}

/** True when the user has the role, or is allowed to do everything anyway. */
async function hasRole(client: ReturnType<typeof createClient>, role: string): Promise<boolean> {
  const status = await unlessForbidden(client.db('admin').command({ connectionStatus: 1 }));
  const roles = (status?.['authInfo'].authenticatedUserRoles ?? []) as { role: string }[];
  return roles.some((held) => held.role === role || held.role === 'root' || held.role === '__system');
}

function grantLine(role: string): string {
  return `db.getSiblingDB("admin").grantRolesToUser("<user of the url>", [${JSON.stringify({ role, db: 'admin' })}])`;
}
