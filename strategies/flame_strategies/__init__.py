"""Server-side strategies for Flower that ask the hospitals' gates first.

A run on Flower reaches every connected node. Here a strategy first asks each node's gate whether its steward approved
the analysis, works with those that did, and says who refused and why. Strategies are the researcher's side: no DIZ
trusts them, and nothing here protects data; the gates do.

::

    approval      who agreed: ask_gates -> Roster
    fedavg        FlameFedAvg; fedprox FlameFedProx; fedadam FlameFedAdam; fedyogi FlameFedYogi   (averaging: their
                  pure part; rounds, checkpoint, attendance, deadlines, early_stopping, history: long runs)
    scaffold      FlameScaffold; fednova FlameFedNova; fedbn FlameFedBN: sites that differ
    robust        FlameRobust: medians and trimmed means; not with masks
    secure_grid   secure(grid): answers that leave masked, added up; nothing else changes (_setup, _replies, _test)
    dp_fedavg     FlameDpFedAvg: looks for the clipping norm with what noising gates tell
    noise_aware   the gates' noise in a round's mean: reported by every strategy here, never added to
    sums          sum_of_sites, GridExchange: sums over sites, for fits that equal the pooled ones
    elastic_net   fit_elastic_net -> ElasticNetPath, cross-validated, from sums (_rounds, _problem, _solver: its parts)
    statistics    summarise, covariance; count_tables histograms, cross_table; quantiles; pca fit_pca: equal to those of
                  the pooled rows
    glm           fit_glm: linear, logistic, Poisson; glm_elastic_net fit_glm_path; cox fit_cox (glm_…, cox_…: parts)
    limma         fit_limma, voom fit_voom: differential expression equal to R's (limma_fits, moderated, contrasts,
                  lowess, student: parts); expression_scaling scale_counts: library sizes and the filter of genes
    fista         fit_fista: the same at one penalty, from sums of gradients
    reference     pooled centre and scale, LinearModel;  penalty: the elastic net's penalty
    in_memory     the sites' side in plain numpy: runs every fit without Flower
    output        the run's folder: save_model, load_model, write_report_json
    errors        what can stop a computation

In a ServerApp::

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        roster = ask_gates(grid, min_nodes=3)
        path = fit_elastic_net(GridExchange(grid, roster.require(3), min_nodes=3))
        model = path.model()
        save_model(output_folder(), model.arrays(), {"penalty": float(path.lambdas[path.best])})
"""

from flame_strategies.approval import Refusal, Roster, ask_gates, refusal_table
from flame_strategies.checkpoint import Checkpoint
from flame_strategies.count_tables import CrossTable, Histogram, cross_table, histograms
from flame_strategies.cox import CoxFit, fit_cox
from flame_strategies.dp_fedavg import ClipTerms, FlameDpFedAvg
from flame_strategies.early_stopping import EarlyStopping
from flame_strategies.elastic_net import ElasticNetPath, MessageTypes, PathStep, fit_elastic_net
from flame_strategies.errors import (
    CheckpointError,
    MessageTooLarge,
    NotEnoughNodes,
    NothingToAverage,
    SiteLost,
    StrategyError,
    UnusableReply,
)
from flame_strategies.expression_scaling import CountScaling, ExpressionFilter, scale_counts
from flame_strategies.fedadam import AdamState, AdamTerms, FlameFedAdam
from flame_strategies.fedavg import FlameFedAvg
from flame_strategies.fedbn import FlameFedBN, split_local
from flame_strategies.fednova import FlameFedNova
from flame_strategies.fedprox import FlameFedProx
from flame_strategies.fedyogi import FlameFedYogi
from flame_strategies.fista import FistaFit, fit_fista
from flame_strategies.glm import GlmFit, fit_glm
from flame_strategies.glm_design import Categorical, Collinear, Design, DesignError, Separated
from flame_strategies.glm_elastic_net import GlmPath, fit_glm_path
from flame_strategies.history import FlameResult
from flame_strategies.limma import ContrastTable, LimmaFit, fit_limma
from flame_strategies.noise_aware import GateNoise, RoundNoise, read_noise
from flame_strategies.output import load_model, output_folder, save_model, write_report_json
from flame_strategies.pca import PrincipalComponents, fit_pca
from flame_strategies.quantiles import GridQuantiles, Quantiles, quantiles_on_grid
from flame_strategies.reference import LinearModel, Reference
from flame_strategies.robust import FlameRobust
from flame_strategies.scaffold import FlameScaffold
from flame_strategies.secure_grid import SecureGrid, secure
from flame_strategies.statistics import Covariance, Summary, covariance, summarise
from flame_strategies.sums import GridExchange, SiteSums, fit_on_whoever_stays, sum_of_sites
from flame_strategies.voom import VoomFit, fit_voom

__all__ = [
    "AdamState",
    "AdamTerms",
    "Categorical",
    "Checkpoint",
    "CheckpointError",
    "ClipTerms",
    "Collinear",
    "ContrastTable",
    "CountScaling",
    "Covariance",
    "CoxFit",
    "CrossTable",
    "Design",
    "DesignError",
    "EarlyStopping",
    "ElasticNetPath",
    "ExpressionFilter",
    "FistaFit",
    "FlameDpFedAvg",
    "FlameFedAdam",
    "FlameFedAvg",
    "FlameFedBN",
    "FlameFedNova",
    "FlameFedProx",
    "FlameFedYogi",
    "FlameResult",
    "FlameRobust",
    "FlameScaffold",
    "GateNoise",
    "GlmFit",
    "GlmPath",
    "GridExchange",
    "GridQuantiles",
    "Histogram",
    "LimmaFit",
    "LinearModel",
    "MessageTooLarge",
    "MessageTypes",
    "NotEnoughNodes",
    "NothingToAverage",
    "PathStep",
    "PrincipalComponents",
    "Quantiles",
    "Reference",
    "Refusal",
    "Roster",
    "RoundNoise",
    "SecureGrid",
    "Separated",
    "SiteLost",
    "SiteSums",
    "StrategyError",
    "Summary",
    "UnusableReply",
    "VoomFit",
    "ask_gates",
    "covariance",
    "cross_table",
    "fit_cox",
    "fit_elastic_net",
    "fit_fista",
    "fit_glm",
    "fit_glm_path",
    "fit_limma",
    "fit_on_whoever_stays",
    "fit_pca",
    "fit_voom",
    "histograms",
    "load_model",
    "output_folder",
    "quantiles_on_grid",
    "read_noise",
    "refusal_table",
    "save_model",
    "scale_counts",
    "secure",
    "split_local",
    "sum_of_sites",
    "summarise",
    "write_report_json",
]
