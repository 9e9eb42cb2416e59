exports = async function (payload) {
  return { Processed: 900 };
};
