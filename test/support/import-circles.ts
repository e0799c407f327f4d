/** The circles in a graph of files, each as the way round, back to where it starts. None is missed altogether. */
export function importCircles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const circles: string[][] = [];
  const done = new Set<string>();
  const way: string[] = [];
  const onWay = new Set<string>();

  const follow = (file: string): void => {
    if (done.has(file)) return;
    if (onWay.has(file)) {
      circles.push([...way.slice(way.indexOf(file)), file]);
      return;
    }
    way.push(file);
    onWay.add(file);
    for (const next of graph.get(file) ?? []) follow(next);
    way.pop();
    onWay.delete(file);
    done.add(file);
  };
  for (const file of graph.keys()) follow(file);
  return circles;
}
