// The ten bodies saved last. Runs as whoever calls, so the rules of the data source decide what it may read.
exports = async function () {
  const saved = context.services.get("mongodb-atlas").db("samples").collection("bodies");
  return saved.find({}).sort({ date: -1 }).limit(10).toArray();
};
