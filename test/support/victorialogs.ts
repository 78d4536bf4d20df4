/**
 * Ids of all records VictoriaLogs holds. The record's text is in `_msg`, or its members are fields; `id` is looked for in
 * both. Its own order is by time.
 */
export async function victoriaIds(port: number): Promise<string[]> {
  const base = `http://127.0.0.1:${port}`;
  await fetch(`${base}/internal/force_flush`);
  const answer = await fetch(`${base}/select/logsql/query`, {
    method: 'POST',
    body: new URLSearchParams({ query: '* | fields _msg, id, event.id', limit: '2000000' }),
  });
  if (!answer.ok) throw new Error(`VictoriaLogs answered ${answer.status}: ${await answer.text()}`);
  const lines = (await answer.text()).split('\n').filter((line) => line !== '');
  return lines.flatMap((line) => {
    const found = JSON.parse(line) as Record<string, string>;
    if (found['id'] !== undefined && found['id'] !== '') return [found['id']];
    if (found['event.id'] !== undefined && found['event.id'] !== '') return [found['event.id']];
    const id = /"id":"((?:[^"\\]|\\.)*)"/.exec(found['_msg'] ?? '')?.[1];
    return id === undefined ? [] : [JSON.parse(`"${id}"`) as string];
  });
}
